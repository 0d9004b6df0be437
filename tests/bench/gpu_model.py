"""A model with the sizes of LLaVA-1.5-7B and no weights, and attributes whose answers end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml

from tests.bench.describe_peers import SEED
from vlm4rec_spark.config import conf_folder
from vlm4rec_spark.demo.products import sample_product
from vlm4rec_spark.demo.truth import true_description
from vlm4rec_spark.descriptions.local import model_path

INPUT = 336
PATCH = 14
CONTEXT = 4096
VISION = {
    "hidden_act": "quick_gelu",
    "hidden_size": 1024,
    "image_size": INPUT,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "patch_size": PATCH,
    "projection_dim": 768,
}
LANGUAGE = {
    "head_dim": 128,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "max_position_embeddings": CONTEXT,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "vocab_size": 32064,  # of which the demo's tokenizer uses the first thousand
}
SHAPES = "LLaVA-1.5-7B: CLIP ViT-L/14 at 336 pixels, Llama 7B; random weights"
DESCRIPTIONS = 32


def write_model(folder: Path) -> None:
    """Write a model without weights: the demo model's words, the sizes of a 7B model."""
    source = Path(model_path("demo"))
    read = {p.stem: json.loads(p.read_text("utf-8")) for p in source.glob("*config.json")}
    config, processor = read["config"], read["processor_config"]
    config |= {"image_seq_length": (INPUT // PATCH) ** 2, "vision_feature_layer": -2}
    config["vision_config"] |= VISION
    config["text_config"] |= LANGUAGE
    processor["patch_size"] = PATCH
    sizes = {"crop_size": {"height": INPUT, "width": INPUT}, "size": {"shortest_edge": INPUT}}
    processor["image_processor"] |= sizes
    read["tokenizer_config"]["model_max_length"] = CONTEXT
    folder.mkdir()
    for name, content in read.items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2), "utf-8")
    for name in ("tokenizer.json", "chat_template.jinja"):
        (folder / name).write_bytes((source / name).read_bytes())


def write_attributes(path: Path) -> None:
    """Write the attributes of clothes without free text: what a random model says must end."""
    asked = yaml.safe_load((conf_folder() / "attributes" / "fashion.yml").read_text("utf-8"))
    asked["fields"] = {n: field for n, field in asked["fields"].items() if "values" in field}
    products = [sample_product(np.random.default_rng([SEED, n])) for n in range(DESCRIPTIONS)]
    texts = [f"{true_description(p)} {true_description(p)}" for p in products]
    asked["description"] = {"ask": asked["description"]["ask"], "values": texts}
    path.write_text(yaml.safe_dump(asked), "utf-8")
