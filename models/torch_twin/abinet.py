"""ABINet in PyTorch under the official implementation's parameter names and shapes.

A state dict saved here as ``{"model": state_dict}`` loads into the official code and the other way round, and
the importer of .pth checkpoints turns it into a native one. Comments here say only where this differs from
``models.abinet``, which documents the method.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.abinet.config import IMAGE_SIZE, NetworkConfig
from models.charset import NULL


class ModelOutput(NamedTuple):
    """The output of one of the three models: logits (N, T, classes) and features (N, T, d_model)."""

    logits: Tensor
    features: Tensor


class ModelOutputs(NamedTuple):
    """The vision reading, and per iteration the language reading and the fused logits (N, T, classes)."""

    vision: ModelOutput
    language: list[ModelOutput]
    fused: list[Tensor]


class ABINet(nn.Module):
    """Vision, language and alignment models, refined ``config.iterations`` times (paper, figure 2)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = Vision(config)
        self.language = Language(config)
        self.alignment = Alignment(config)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> ModelOutputs:
        """Reads normalised crops (N, 3, 32, 128)."""
        vision = self.vision(images)
        logits, language, fused = vision.logits, [], []
        for _ in range(self.config.iterations):
            guess = torch.softmax(logits.float(), dim=-1).detach()
            language.append(self.language(guess, text_lengths(logits, self.config.no_stop_length)))
            logits = self.alignment(language[-1].features, vision.features)
            fused.append(logits)
        return ModelOutputs(vision, language, fused)


class Vision(nn.Module):
    """Normalised crops (N, 3, 32, 128) to a :class:`ModelOutput` (paper section 3.1)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.backbone = Backbone(config)
        self.attention = PositionAttention(config)
        self.cls = nn.Linear(config.d_model, config.classes)

    def forward(self, images: Tensor) -> ModelOutput:
        features = self.attention(self.backbone(images))
        return ModelOutput(self.cls(features), features)


class Language(nn.Module):
    """The bidirectional cloze network (paper section 3.2): probabilities (N, T, classes), lengths (N,).

    It detaches nothing itself: the caller hands it detached probabilities. The positions may be fewer than
    T, if no length is beyond them.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.proj = nn.Linear(config.classes, config.d_model, bias=False)
        self.token_encoder = PositionalEncoding(config.steps, config.d_model, config.dropout)
        self.pos_encoder = PositionalEncoding(config.steps, config.d_model, 0.0)
        self.model = nn.Module()
        self.model.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.language_layers))
        self.cls = nn.Linear(config.d_model, config.classes)
        self.register_buffer("others", ~torch.eye(config.steps, dtype=torch.bool), persistent=False)
        self.register_buffer("steps", torch.arange(config.steps), persistent=False)

    def forward(self, probabilities: Tensor, lengths: Tensor) -> ModelOutput:
        keys = self.token_encoder(self.proj(probabilities))
        steps = probabilities.shape[1]
        written = self.steps[:steps] < lengths[:, None]
        others = self.others[:steps, :steps]
        visible = others & written[:, None, None, :]  # (N, 1, T, T), broadcast over the heads
        features = self.pos_encoder(torch.zeros_like(keys))
        for layer in self.model.layers:
            features = layer(features, keys, visible)
        return ModelOutput(self.cls(features), features)


class Alignment(nn.Module):
    """Language and vision features (N, T, d_model) to fused logits (N, T, classes) (paper section 3.3)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.w_att = nn.Linear(2 * config.d_model, config.d_model)
        self.cls = nn.Linear(config.d_model, config.classes)

    def forward(self, language: Tensor, vision: Tensor) -> Tensor:
        gate = torch.sigmoid(self.w_att(torch.cat((language, vision), dim=-1)))
        return self.cls(gate * vision + (1 - gate) * language)


def _initialise(module: nn.Module) -> None:
    """The same initial values as the native network's: He et al. for ReLU, Glorot elsewhere, no biases."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, MultiheadAttention):
        for part in module.in_proj_weight.detach().chunk(3):
            nn.init.xavier_uniform_(part)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def text_lengths(logits: Tensor, no_stop_length: str) -> Tensor:
    """Lengths (N,), stop included, of the texts that logits (N, T, classes) spell: 2 to T."""
    steps = logits.shape[1]
    stops = logits.argmax(dim=-1) == NULL
    lengths = stops.int().argmax(dim=-1) + 1
    without = steps if no_stop_length == "full" else 0
    return torch.where(stops.any(dim=-1), lengths, without).clamp(2, steps)


class Backbone(nn.Module):
    """ResNet and transformer encoder: crops (N, 3, 32, 128) to a map (N, d_model, 8, 32)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.resnet = ResNet(config)
        cells = (IMAGE_SIZE[0] // 4) * (IMAGE_SIZE[1] // 4)
        self.pos_encoder = PositionalEncoding(cells, config.d_model, config.dropout)
        self.transformer = nn.Module()
        self.transformer.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.vision_layers))

    def forward(self, images: Tensor) -> Tensor:
        pixels = self.resnet(images)
        cells = self.pos_encoder(pixels.flatten(2).transpose(1, 2))
        for layer in self.transformer.layers:
            cells = layer(cells)
        return cells.transpose(1, 2).unflatten(2, pixels.shape[2:])


class ResNet(nn.Module):
    """The paper's ResNet-45: strides of 2 before stages 1 and 3 only."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.resnet_channels[0]
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        stages = zip(config.resnet_channels, config.resnet_blocks, (2, 1, 2, 1, 1), strict=True)
        for number, (channels, blocks, stride) in enumerate(stages, start=1):
            first = ResidualBlock(width, channels, stride)
            rest = [ResidualBlock(channels, channels, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(first, *rest))
            width = channels

    def forward(self, images: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(images)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4, self.layer5):
            x = stage(x)
        return x


class ResidualBlock(nn.Module):
    """1x1 and 3x3 convolution; the second carries the stride."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)) + shortcut)


class PositionAttention(nn.Module):
    """A map (N, d_model, 8, 32) to one vector a character position, (N, T, d_model)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, inner = config.d_model, config.attention_channels
        height = (IMAGE_SIZE[0] // 4, IMAGE_SIZE[1] // 4)
        self.k_encoder = nn.ModuleList(
            convolution(width if level == 0 else inner, inner, stride=(1, 2) if level == 0 else (2, 2))
            for level in range(4)
        )
        ups = [nn.Upsample(scale_factor=2) for _ in range(3)] + [nn.Upsample(size=height)]
        self.k_decoder = nn.ModuleList(
            nn.Sequential(up, *convolution(inner, width if level == 3 else inner))
            for level, up in enumerate(ups)
        )
        self.pos_encoder = PositionalEncoding(config.steps, width, 0.0)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        keys, skips = x, []
        for level in self.k_encoder:
            keys = level(keys)
            skips.append(keys)
        for level, skip in zip(self.k_decoder[:3], reversed(skips[:3]), strict=True):
            keys = level(keys) + skip
        keys = self.k_decoder[3](keys)
        queries = self.project(self.pos_encoder.pe.transpose(0, 1)).expand(len(x), -1, -1)
        return functional.scaled_dot_product_attention(queries, _cells(keys), _cells(x))


def convolution(channels_in: int, channels: int, stride: tuple[int, int] = (1, 1)) -> nn.Sequential:
    """3x3 convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, stride, padding=1), nn.BatchNorm2d(channels), nn.ReLU()
    )


def _cells(x: Tensor) -> Tensor:
    """(N, E, H, W) to (N, H*W, E)."""
    return x.flatten(2).transpose(1, 2)


class EncoderLayer(nn.Module):
    """Post-norm self-attention and feed-forward."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(config.d_model, config.heads, config.dropout)
        self.linear1 = nn.Linear(config.d_model, config.d_inner)
        self.linear2 = nn.Linear(config.d_inner, config.d_model)
        self.norm1 = nn.LayerNorm(config.d_model)
        self.norm2 = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.dropout(self.self_attn(x, x)))
        inner = self.dropout(functional.relu(self.linear1(x)))
        return self.norm2(x + self.dropout(self.linear2(inner)))


class DecoderLayer(nn.Module):
    """Post-norm cross-attention and feed-forward; positions never attend to one another (paper 3.2)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.multihead_attn = MultiheadAttention(config.d_model, config.heads, config.dropout)
        self.linear1 = nn.Linear(config.d_model, config.d_inner)
        self.linear2 = nn.Linear(config.d_inner, config.d_model)
        self.norm2 = nn.LayerNorm(config.d_model)
        self.norm3 = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, keys: Tensor, visible: Tensor) -> Tensor:
        x = self.norm2(x + self.dropout(self.multihead_attn(x, keys, visible)))
        inner = self.dropout(functional.relu(self.linear1(x)))
        return self.norm3(x + self.dropout(self.linear2(inner)))


class MultiheadAttention(nn.Module):
    """Queries (N, T, E) over keys (N, S, E); ``visible`` (N, 1, T, S) is true where a key may be seen."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, queries: Tensor, keys: Tensor, visible: Tensor | None = None) -> Tensor:
        width = queries.shape[-1]
        weights, biases = self.in_proj_weight, self.in_proj_bias
        if queries is keys:
            q, k, v = functional.linear(queries, weights, biases).chunk(3, dim=-1)
        else:
            q = functional.linear(queries, weights[:width], biases[:width])
            k, v = functional.linear(keys, weights[width:], biases[width:]).chunk(2, dim=-1)
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(
            self._split(q), self._split(k), self._split(v), attn_mask=visible, dropout_p=dropout
        )
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class PositionalEncoding(nn.Module):
    """Adds the sinusoidal table to (N, T, E); the official code stores it as (T, 1, E)."""

    def __init__(self, length: int, width: int, dropout: float) -> None:
        super().__init__()
        rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        angles = torch.arange(length)[:, None] * rates
        table = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)
        self.register_buffer("pe", table[:, None])
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x + self.pe[: x.shape[1]].transpose(0, 1))
