"""Mixed precision in MindSpore: the step at ``system.amp_level`` O2 and O3, and a check before it."""

from __future__ import annotations

from dataclasses import replace

import mindspore as ms
from mindspore import Tensor, nn

from models.abinet.abinet import ABINet
from models.abinet.config import NetworkConfig
from models.checkpoints.checkpoint import load_parameters
from models.training.batches import Batch

#: The factor by which gradients in float16 are enlarged, because the smallest would otherwise become 0.
LOSS_SCALE = 1024.0
#: The largest difference of the first loss from the one in float32, relative to it.
TOLERANCE = 0.01


def in_half(loss: nn.Cell, level: str) -> nn.Cell:
    """The loss computed in float16: at O2 all but the batch norms, at O3 all. Parameters stay float32."""
    cell: nn.Cell = ms.amp.auto_mixed_precision(loss, level)
    return cell


def check_loss(
    network: ABINet, sizes: NetworkConfig, kind: type[nn.Cell], level: str, batch: Batch, ranks: int
) -> None:
    """Computes the loss of a batch in float32 and at ``level``, both without dropout.

    Raises:
        ValueError: they differ by more than 1 %, or the latter is not a number.
    """
    sizes = replace(sizes, dropout=0.0)
    weights = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
    losses = []
    for lowered in (False, True):
        copy = ABINet(sizes).set_train()
        load_parameters(copy, weights, "the network in training")
        cell = kind(copy, sizes.steps, ranks).set_train()
        losses.append(float((in_half(cell, level) if lowered else cell)(*map(Tensor, batch[:3])).asnumpy()))
    exact, lower = losses
    if not abs(lower - exact) <= TOLERANCE * abs(exact):
        raise ValueError(
            f"system.amp_level {level}: the first loss is {lower:.6g} and in float32 {exact:.6g}; write O0"
        )
