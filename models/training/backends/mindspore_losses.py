"""The paper's losses: cross-entropy of vision, language and fused readings (paper section 3.4)."""

import mindspore as ms
from mindspore import Tensor, nn, ops

from models.abinet.abinet import ABINet


class TextLoss(nn.Cell):
    """Mean cross-entropy over the characters and the stop of every text.

    Logits (N, T, classes), labels (N, T) int32, lengths (N,) int32, which count the stop. With several
    ``ranks`` each process has a share of the batch; the mean of their losses is that of the joint batch.
    """

    def __init__(self, steps: int, ranks: int = 1) -> None:
        super().__init__()
        self.ranks = ranks
        if ranks > 1:
            self.sum_over_ranks = ops.AllReduce()
        self.positions = ops.arange(steps).expand_dims(0)
        self.log_softmax = nn.LogSoftmax(axis=-1)

    def construct(self, logits: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        classes = logits.shape[-1]
        wanted = ops.one_hot(labels, classes, Tensor(1.0, ms.float32), Tensor(0.0, ms.float32))
        losses = -(self.log_softmax(logits) * wanted).sum(axis=-1)
        valid = (self.positions < lengths.expand_dims(1)).astype(ms.float32)
        characters = valid.sum()
        if self.ranks > 1:
            characters = self.sum_over_ranks(characters) / self.ranks
        return (losses * valid).sum() / characters


class VisionLoss(nn.Cell):
    """The loss of the vision model alone, for its pre-training."""

    def __init__(self, network: ABINet, steps: int, ranks: int = 1) -> None:
        super().__init__(auto_prefix=False)  # the network's parameters keep their names
        self.vision = network.vision
        self.loss = TextLoss(steps, ranks)

    def construct(self, images: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        logits, _ = self.vision(images)
        return self.loss(logits, labels, lengths)


class LanguageLoss(nn.Cell):
    """The loss of the language model alone, for its pre-training on misspelt texts (N, T, classes)."""

    def __init__(self, network: ABINet, steps: int, ranks: int = 1) -> None:
        super().__init__(auto_prefix=False)  # the network's parameters keep their names
        self.language = network.language
        self.loss = TextLoss(steps, ranks)

    def construct(self, probabilities: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        logits, _ = self.language(probabilities, lengths.astype(ms.float32))
        return self.loss(logits, labels, lengths)


class JointLoss(nn.Cell):
    """Vision's loss plus the means over the iterations of the language and the fused losses."""

    def __init__(self, network: ABINet, steps: int, ranks: int = 1) -> None:
        super().__init__(auto_prefix=False)  # the network's parameters keep their names
        self.network = network
        self.iterations = network.iterations
        self.loss = TextLoss(steps, ranks)

    def construct(self, images: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        outputs: tuple[Tensor, ...] = self.network(images)
        total = self.loss(outputs[0], labels, lengths)
        for output in outputs[1:]:
            total = total + self.loss(output, labels, lengths) / self.iterations
        return total
