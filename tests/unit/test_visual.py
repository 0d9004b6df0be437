"""Vision models: unit rows that tell pictures apart, by the packaged model and by transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vlm4rec_spark import testing
from vlm4rec_spark.config import load_config
from vlm4rec_spark.embeddings.visual import VisualSpec, load_visual, visual_spec
from vlm4rec_spark.errors import EngineError


def test_the_packaged_model_finds_another_shot_of_the_same_product_nearest() -> None:
    products = testing.products(6)
    shots = [testing.picture(p, seed) for seed in (1, 2) for p in products]
    vectors = load_visual(visual_spec(load_config())).encode(shots)
    assert vectors.shape == (12, 1280)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(12), abs=1e-5)
    alike = vectors[:6] @ vectors[6:].T
    assert (alike.argmax(axis=1) == np.arange(6)).mean() >= 0.8


def test_a_vision_model_of_transformers_is_loaded_from_a_directory(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ViTModel(
        ViTConfig(**sizes, intermediate_size=16, image_size=32, patch_size=16)
    ).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    config = load_config(None, [f"embed.visual_model={tmp_path}"])
    spec = visual_spec(config)
    assert spec.identity != f"{tmp_path}@main"
    vectors = load_visual(spec).encode([testing.picture(p) for p in testing.products(2)])
    assert vectors.shape == (2, 16)
    assert np.isfinite(vectors).all()


def test_a_model_that_is_none_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EngineError, match=r"embed\.visual_model must be"):
        load_visual(VisualSpec(str(tmp_path)))
