"""The paper's losses in PyTorch, with the same values as :mod:`models.training.backends.mindspore_losses`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from models.torch_twin.abinet import ABINet

#: Network, inputs, labels (N, T) int64, lengths (N,) -> the loss, a scalar.
Loss = Callable[[ABINet, Tensor, Tensor, Tensor], Tensor]


def text_loss(logits: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """Mean cross-entropy over the characters and the stop of every text."""
    losses = functional.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none")
    valid = torch.arange(labels.shape[1], device=labels.device) < lengths[:, None]
    return (losses * valid).sum() / valid.sum()


def vision_loss(network: ABINet, images: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    return text_loss(network.vision(images).logits, labels, lengths)


def language_loss(network: ABINet, probabilities: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    return text_loss(network.language(probabilities, lengths).logits, labels, lengths)


def joint_loss(network: ABINet, images: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    readings = network(images)
    refined = [logits for language, fused in zip(readings.language, readings.fused, strict=True)
               for logits in (language.logits, fused)]  # fmt: skip
    losses = [text_loss(logits, labels, lengths) for logits in refined]
    return text_loss(readings.vision.logits, labels, lengths) + sum(losses) / network.config.iterations


LOSSES: dict[str, Loss] = {
    "language": language_loss,
    "vision": vision_loss,
    "joint": joint_loss,
    "self_training": joint_loss,
}
