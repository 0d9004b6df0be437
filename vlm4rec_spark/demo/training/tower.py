"""The vision tower in plain torch: the same maths as CLIP's, and the heads it is trained with."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlm4rec_spark.demo.training.examples import GRID, HIDDEN_LABEL, VOCABULARIES

WIDTH, LAYERS, INNER, HEADS = 192, 4, 768, 6
SIDE, PATCH = 128, 16
PATCHES = GRID * GRID
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
CLASSES = [len(values) for values in VOCABULARIES.values()]
COVERED = 0.35
"""A patch counts as body from this share of it on."""


class Block(nn.Module):
    """One pre-norm transformer layer with squared ReLU."""

    def __init__(self) -> None:
        """Start close to the identity: both output matrices are zero."""
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        for layer in (self.query, self.key, self.value, self.fc1):
            nn.init.normal_(layer.weight, std=0.75 / math.sqrt(WIDTH))
        for layer in (self.query, self.key, self.value, self.fc1, self.out, self.fc2):
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.fc2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, width) -> the same shape."""
        n, tokens, _ = x.shape
        normed = self.norm1(x)
        query, key, value = (
            layer(normed).view(n, tokens, HEADS, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, tokens, WIDTH))
        hidden = functional.relu(self.fc1(self.norm2(x)))
        return x + self.fc2(hidden * hidden)


class Tower(nn.Module):
    """Patches in, one vector per patch out."""

    def __init__(self) -> None:
        """Positions start as sines and cosines of row and column."""
        super().__init__()
        self.patch = nn.Linear(3 * PATCH * PATCH, WIDTH, bias=False)
        nn.init.normal_(self.patch.weight, std=1 / math.sqrt(3 * PATCH * PATCH))
        self.start = nn.Parameter(torch.zeros(WIDTH))
        self.position = nn.Parameter(torch.cat([torch.zeros(1, WIDTH), 0.4 * _sines()]))
        self.norm = nn.LayerNorm(WIDTH)
        self.blocks = nn.ModuleList([Block() for _ in range(LAYERS)])

    def forward(self, patches: Tensor, kept: Tensor | None = None) -> Tensor:
        """(n, tokens, 768) normalised patches -> (n, tokens, 192); `kept`: their positions."""
        position = self.position[1:] if kept is None else self.position[1:][kept]
        x = self.patch(patches) + position
        start = (self.start + self.position[0]).expand(len(x), 1, WIDTH)
        x = self.norm(torch.cat([start, x], 1))
        for block in self.blocks:
            x = block(x)
        return x[:, 1:]

    def matrices(self) -> list[nn.Parameter]:
        """The parameters Muon trains."""
        return [p for p in self.parameters() if p.ndim == 2 and p is not self.position]

    def to_clip(self) -> dict[str, Tensor]:
        """Return the weights under the names of transformers' CLIP vision model."""
        kernel = self.patch.weight.view(WIDTH, PATCH, PATCH, 3).permute(0, 3, 1, 2)
        out: dict[str, Tensor] = {
            "embeddings.class_embedding": self.start,
            "embeddings.patch_embedding.weight": kernel,
            "embeddings.position_embedding.weight": self.position,
            "pre_layrnorm.weight": self.norm.weight,
            "pre_layrnorm.bias": self.norm.bias,
        }
        names = {
            "query": "self_attn.q_proj",
            "key": "self_attn.k_proj",
            "value": "self_attn.v_proj",
            "out": "self_attn.out_proj",
            "norm1": "layer_norm1",
            "norm2": "layer_norm2",
            "fc1": "mlp.fc1",
            "fc2": "mlp.fc2",
        }
        for i, block in enumerate(self.blocks):
            for ours, theirs in names.items():
                for part, value in getattr(block, ours).named_parameters():
                    out[f"encoder.layers.{i}.{theirs}.{part}"] = value
        return {name: value.detach().clone().contiguous() for name, value in out.items()}


class Heads(nn.Module):
    """Classifiers over the pooled tokens and over every body token; used in training only."""

    def __init__(self) -> None:
        """Start at zero: all classes alike."""
        super().__init__()
        self.pooled_norm, self.pooled = nn.LayerNorm(2 * WIDTH), nn.Linear(2 * WIDTH, sum(CLASSES))
        self.token_norm, self.token = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, sum(CLASSES) + 1)
        for layer in (self.pooled, self.token):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def scores(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """(n, tokens, 192) -> one (n, classes) tensor per vocabulary."""
        pooled = torch.cat([tokens.mean(1), tokens.amax(1)], 1)
        return self.pooled(self.pooled_norm(pooled)).split(CLASSES, 1)

    def loss(self, tokens: Tensor, labels: Tensor, cover: Tensor) -> Tensor:
        """Pooled loss + half the loss of every body token + the loss of finding the body."""
        pooled = _cross_entropies(self.scores(tokens), labels)
        scores = self.token(self.token_norm(tokens))
        chosen = (cover > COVERED).flatten()
        per_token = labels[:, None, :].expand(-1, cover.shape[1], -1).reshape(-1, labels.shape[1])
        body = scores.reshape(-1, scores.shape[-1])[chosen]
        token = _cross_entropies(body[:, :-1].split(CLASSES, 1), per_token[chosen])
        found = functional.binary_cross_entropy_with_logits(scores[..., -1].float(), cover)
        return pooled + 0.5 * token + found


def _cross_entropies(scores: tuple[Tensor, ...], labels: Tensor) -> Tensor:
    total = torch.zeros(())
    for column, score in enumerate(scores):
        target = labels[:, column]
        if (target != HIDDEN_LABEL).any():
            total = total + functional.cross_entropy(
                score.float(), target, ignore_index=HIDDEN_LABEL
            )
    return total


def _sines() -> Tensor:
    quarter = WIDTH // 4
    speed = 1 / (30 ** (torch.arange(quarter) / (quarter - 1)))
    angle = torch.arange(float(GRID))[:, None] * speed
    wave = torch.cat([angle.sin(), angle.cos()], 1)
    row, column = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
    return torch.cat([wave[row.reshape(-1)], wave[column.reshape(-1)]], 1)


def cut_patches(pixels: Tensor, top: int = 4, left: int = 4) -> Tensor:
    """(n, 136, 136, 3) uint8 -> the patches (n, 64, 768) uint8 of the 128-pixel crop."""
    crop = pixels[:, top : top + SIDE, left : left + SIDE]
    split = crop.reshape(len(pixels), GRID, PATCH, GRID, PATCH, 3)
    return split.permute(0, 1, 3, 2, 4, 5).reshape(len(pixels), PATCHES, -1)


def normalise(patches: Tensor, *, augment: bool = False) -> Tensor:
    """Bytes to CLIP's range; `augment` varies brightness, contrast and white balance."""
    scale = (1 / (255 * torch.tensor(PIXEL_DEVIATION))).repeat(PATCH * PATCH)
    offset = (-torch.tensor(PIXEL_MEAN) / torch.tensor(PIXEL_DEVIATION)).repeat(PATCH * PATCH)
    if not augment:
        return patches.float() * scale + offset
    n = len(patches)
    gain = 1 + 0.06 * torch.randn(n, 1, 1) + 0.025 * torch.randn(n, 1, 3)
    return patches.float() * (scale * gain.repeat(1, 1, PATCH * PATCH)) + (
        offset + 0.04 * torch.randn(n, 1, 1)
    )
