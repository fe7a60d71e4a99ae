"""The vision model: features of the image and a first reading from them (paper section 3.1)."""

import math
from typing import Tuple

from mindspore import Tensor, nn, ops

from models.abinet.config import IMAGE_SIZE, NetworkConfig
from models.abinet.resnet import ResNet45, conv
from models.abinet.transformer import PositionalEncoding, TransformerLayer, dense

#: Height and width of the feature map: a quarter of the image's.
MAP_SIZE = (IMAGE_SIZE[0] // 4, IMAGE_SIZE[1] // 4)

_DOWN_STRIDES = ((1, 2), (2, 2), (2, 2), (2, 2))
_UP_SIZES = ((2, 4), (4, 8), (8, 16), MAP_SIZE)


class ConvNormReLU(nn.Cell):
    """3x3 convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: Tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.conv = conv(inputs, outputs, 3, stride, bias=True)
        self.bn = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()

    def construct(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class PositionAttention(nn.Cell):
    """Attends from each reading position to the feature map: F_v = softmax(Q K^T / sqrt(E)) V.

    Queries are encoded positions, keys the feature map passed through a mini U-Net, values the feature map.
    (N, E, 8, 32) -> (N, T, E).
    """

    def __init__(self, steps: int, d_model: int, channels: int) -> None:
        super().__init__()
        widths = [d_model, channels, channels, channels, channels]
        self.encoder = nn.CellList(
            [ConvNormReLU(widths[i], widths[i + 1], _DOWN_STRIDES[i]) for i in range(len(_DOWN_STRIDES))]
        )
        self.decoder = nn.CellList([ConvNormReLU(channels, width) for width in (*widths[2:], d_model)])
        self.upsample = [ops.ResizeNearestNeighbor(size) for size in _UP_SIZES]
        self.pos_encoder = PositionalEncoding(steps, d_model)
        self.project = dense(d_model, d_model)
        self.scores = ops.BatchMatMul()
        self.weighted = ops.BatchMatMul(transpose_b=True)
        self.softmax = nn.Softmax(axis=-1)
        self.scale = 1.0 / math.sqrt(d_model)

    def _keys(self, x: Tensor) -> Tensor:
        maps = []
        for layer in self.encoder:
            x = layer(x)
            maps.append(x)
        for i, layer in enumerate(self.decoder):
            x = layer(self.upsample[i](x))
            if i < len(maps) - 1:
                x = x + maps[len(maps) - 2 - i]
        return x

    def construct(self, features: Tensor) -> Tensor:
        n, e, h, w = features.shape
        keys = self._keys(features).reshape(n, e, h * w)
        values = features.reshape(n, e, h * w)
        query = self.project(self.pos_encoder.pe) * self.scale
        query = ops.tile(query.expand_dims(0), (n, 1, 1))
        return self.weighted(self.softmax(self.scores(query, keys)), values)


class VisionModel(nn.Cell):
    """Images (N, 3, 32, 128) -> logits (N, T, classes), features (N, T, E)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.resnet = ResNet45(config.resnet_channels, config.resnet_blocks)
        self.pos_encoder = PositionalEncoding(MAP_SIZE[0] * MAP_SIZE[1], config.d_model, config.dropout)
        self.encoder = nn.CellList([TransformerLayer(config) for _ in range(config.vision_layers)])
        self.attention = PositionAttention(config.steps, config.d_model, config.attention_channels)
        self.cls = dense(config.d_model, config.classes)

    def construct(self, images: Tensor) -> Tuple[Tensor, Tensor]:
        x = self.resnet(images)
        n, e, h, w = x.shape
        x = self.pos_encoder(x.reshape(n, e, h * w).transpose(0, 2, 1))
        for layer in self.encoder:
            x = layer(x, x)
        features = self.attention(x.transpose(0, 2, 1).reshape(n, e, h, w))
        return self.cls(features), features
