"""One step of training as one graph: loss, gradients, clipping, optimizer."""

from __future__ import annotations

import math

import mindspore as ms
from mindspore import Tensor, nn, ops

from models.training.recipe import Optimizer


def _smaller(scale: Tensor, gradient: Tensor) -> Tensor:
    return gradient / scale


def _optimizer(
    wanted: Optimizer,
    parameters: ms.ParameterTuple,
    decayed: list[ms.Parameter],
    learning_rates: list[float],
    weight_decay: float,
) -> nn.Optimizer:
    """AdamW's decay is done beside it; the others add what is ``decayed`` to its gradients."""
    groups = parameters
    if weight_decay and wanted.opt != "adamw":
        names = {parameter.name for parameter in decayed}
        groups = [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.name not in names], "weight_decay": 0.0},
        ]
        groups = [*[group for group in groups if group["params"]], {"order_params": parameters}]
    if wanted.opt == "sgd":
        return nn.SGD(groups, learning_rates, wanted.momentum, nesterov=wanted.nesterov)
    return nn.Adam(groups, learning_rates, wanted.beta1, wanted.beta2)


class TrainingStep(nn.Cell):
    """Inputs, labels, lengths -> the loss before the step, over all ``ranks`` processes.

    With several ranks the gradients are averaged over them, then they are clipped to a global norm. With
    ``drop_overflow`` a step whose gradients are not finite changes nothing. AdamW's ``weight_decay`` shrinks
    by itself times the learning rate before each step, as PyTorch's does. ``scale``: by how much gradients
    are larger while they are computed.
    """

    def __init__(
        self,
        loss: nn.Cell,
        learning_rates: list[float],
        clip_norm: float,
        optimizer: Optimizer,
        *,
        weight_decay: float = 0.0,
        drop_overflow: bool = False,
        ranks: int = 1,
        scale: float = 1.0,
    ) -> None:
        super().__init__(auto_prefix=False)
        parameters = ms.ParameterTuple(loss.trainable_params())
        decayed = [p for p in parameters if p.ndim > 1 or not optimizer.filter_bias_and_bn]
        self.optimizer = _optimizer(optimizer, parameters, decayed, learning_rates, weight_decay)
        self.forward_and_gradients = nn.ForwardValueAndGrad(
            loss, parameters, get_by_list=True, sens_param=scale != 1.0
        )
        self.scale, self.scaling = Tensor(scale, ms.float32), scale != 1.0
        self.shrinking = decayed if weight_decay and optimizer.opt == "adamw" else []
        self.shrunk = Tensor([1.0 - rate * weight_decay for rate in learning_rates], ms.float32)
        self.assign = ops.Assign()
        self.map = ops.HyperMap()
        self.drop_overflow = drop_overflow
        self.clip_norm, self.clips = clip_norm, math.isfinite(clip_norm)
        self.ranks = ranks
        if ranks > 1:
            self.reduce_gradients = nn.DistributedGradReducer(parameters, True, ranks)
            self.sum_over_ranks = ops.AllReduce()

    def construct(self, inputs: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        if self.scaling:
            loss, gradients = self.forward_and_gradients(inputs, labels, lengths, self.scale)
            gradients = self.map(ops.partial(_smaller, self.scale), gradients)
        else:
            loss, gradients = self.forward_and_gradients(inputs, labels, lengths)
        if self.ranks > 1:
            gradients = self.reduce_gradients(gradients)
            loss = self.sum_over_ranks(loss) / self.ranks
        clipped = ops.clip_by_global_norm(gradients, self.clip_norm) if self.clips else gradients
        if self.drop_overflow:
            if ms.amp.all_finite(gradients):
                loss = ops.depend(loss, self.update(clipped))
        else:
            loss = ops.depend(loss, self.update(clipped))
        return loss

    def update(self, gradients: tuple[Tensor, ...]) -> Tensor:
        """Shrinks, then steps."""
        if self.shrinking:
            factor = self.shrunk[self.optimizer.global_step[0]]
            for parameter in self.shrinking:
                self.assign(parameter, parameter * factor)
        return self.optimizer(gradients)
