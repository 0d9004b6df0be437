"""The real encoder of the demo package: what its vectors promise."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vlm4rec_spark.config import load_config
from vlm4rec_spark.embeddings.encoders import (
    EncoderSpec,
    encode_texts,
    encoder_spec,
    load_encoder,
    unit_rows,
)
from vlm4rec_spark.errors import EngineError, MissingExtraError, Vlm4RecError

TEXTS = [
    "A floral midi dress for a garden party.",
    "Oak dining table",
    "Red",
    "A long sentence about wool, " * 30,
    "Flowery summer dress",
]


@pytest.fixture(scope="module")
def demo() -> EncoderSpec:
    return encoder_spec(load_config(None, ["embed.model=demo"]))


def test_vectors_are_float32_of_unit_length(demo: EncoderSpec) -> None:
    vectors = encode_texts(demo, TEXTS)
    assert vectors.shape == (5, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    assert vectors[0] @ vectors[4] > vectors[0] @ vectors[1] + 0.2


def test_a_text_has_one_vector_whatever_it_is_encoded_with(demo: EncoderSpec) -> None:
    together = encode_texts(demo, TEXTS)
    alone = np.concatenate([encode_texts(demo, [text]) for text in TEXTS])
    backwards = encode_texts(demo, TEXTS[::-1])[::-1]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together, backwards, atol=1e-5)


@pytest.mark.parametrize(
    ("backend", "least"),
    [("openvino", 0.999_999), ("openvino_bf16", 0.9995), ("openvino_int8", 0.998)],
)
def test_another_backend_gives_nearly_the_same_vectors(
    demo: EncoderSpec, backend: str, least: float
) -> None:
    other = replace(demo, backend=backend).open()
    # Texts of other lengths and numbers than those the conversion saw, the longest cut off.
    texts = [*TEXTS, *(f"{text} {text}" for text in TEXTS)]
    same = (other.encode(texts) * encode_texts(demo, texts)).sum(axis=1)
    assert same.min() > least
    assert other.encode(texts[:1]) @ encode_texts(demo, texts[:1]).T > least
    assert other.spec.identity == f"{demo.identity}+{backend}"


def test_openvino_is_loaded_without_its_telemetry() -> None:
    code = (
        "import sys\n"
        "from vlm4rec_spark.embeddings import openvino\n"
        "openvino._openvino()\n"
        "loaded = [name for name, module in sys.modules.items() if module is not None]\n"
        "assert 'openvino.tools.ovc.telemetry_stub' in loaded\n"
        "assert not [name for name in loaded if name.startswith('openvino_telemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_empty_text_is_refused_and_no_text_gives_no_rows(demo: EncoderSpec) -> None:
    with pytest.raises(Vlm4RecError, match="Text 1 is empty"):
        encode_texts(demo, ["dress", " \n"])
    assert encode_texts(demo, []).shape == (0, 384)


def test_the_model_is_loaded_once_per_process(demo: EncoderSpec) -> None:
    copy = pickle.loads(pickle.dumps(demo))
    assert load_encoder(copy) is load_encoder(demo)


def test_a_row_without_direction_is_nan_and_harms_no_other() -> None:
    raw = np.array([[3.0, 4.0], [0.0, 0.0], [np.inf, 1.0], [np.nan, 1.0]], np.float32)
    rows = unit_rows(raw)
    np.testing.assert_allclose(rows[0], [0.6, 0.8], atol=1e-7)
    assert np.isnan(rows[1:]).all()


def test_the_identity_names_model_and_revision() -> None:
    config = load_config(
        None, ["embed.model=org/model", "embed.revision=abc", "embed.batch_size=8"]
    )
    spec = encoder_spec(config)
    assert (spec.identity, spec.batch_size) == ("org/model@abc", 8)
    assert EncoderSpec("org/model").identity == "org/model@main"


def test_other_weights_in_the_same_directory_are_another_encoder(tmp_path: Path) -> None:
    config = load_config(None, [f"embed.model={tmp_path}"])
    (tmp_path / "weights").write_bytes(b"one")
    first = encoder_spec(config).identity
    assert encoder_spec(config).identity == first
    (tmp_path / "weights").write_bytes(b"two")
    assert encoder_spec(config).identity != first


def test_a_directory_that_holds_no_model_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"embed\.model must be"):
        EncoderSpec(str(tmp_path)).open()


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"vlm4rec-spark\[encode\]"):
        EncoderSpec("org/model").open()
