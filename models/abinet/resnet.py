"""ResNet-45, the backbone of the vision model (paper section 3.1; strides from ASTER's ResNet)."""

from typing import Sequence

from mindspore import Tensor, nn
from mindspore.common.initializer import HeNormal

STRIDES = (2, 1, 2, 1, 1)


def conv(inputs: int, outputs: int, kernel: int, stride: object = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution padded to keep the size (before the stride), initialised as He et al. for ReLU."""
    return nn.Conv2d(
        inputs,
        outputs,
        kernel,
        stride,
        pad_mode="pad",
        padding=kernel // 2,
        has_bias=bias,
        weight_init=HeNormal(mode="fan_out", nonlinearity="relu"),
        bias_init="zeros",
    )


class BasicBlock(nn.Cell):
    """1x1 then 3x3 convolution (which carries the stride), with a projected shortcut if shapes change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(inputs, outputs, 1)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv(outputs, outputs, 3, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.projected = stride != 1 or inputs != outputs
        if self.projected:
            self.downsample = nn.SequentialCell(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def construct(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = self.downsample(x) if self.projected else x
        return self.relu(y + shortcut)


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.SequentialCell:
    cells = [BasicBlock(inputs, outputs, stride)]
    cells += [BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.SequentialCell(*cells)


class ResNet45(nn.Cell):
    """(N, 3, 32, 128) -> (N, channels[-1], 8, 32)."""

    def __init__(self, channels: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = conv(3, channels[0], 3)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.relu = nn.ReLU()
        widths = [channels[0], *channels]
        self.layer1 = _stage(widths[0], widths[1], blocks[0], STRIDES[0])
        self.layer2 = _stage(widths[1], widths[2], blocks[1], STRIDES[1])
        self.layer3 = _stage(widths[2], widths[3], blocks[2], STRIDES[2])
        self.layer4 = _stage(widths[3], widths[4], blocks[3], STRIDES[3])
        self.layer5 = _stage(widths[4], widths[5], blocks[4], STRIDES[4])

    def construct(self, images: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(images)))
        return self.layer5(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
