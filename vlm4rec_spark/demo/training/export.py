"""Write the trained model as a folder that vLLM and transformers both load."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPImageProcessor,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from vlm4rec_spark.demo.training.examples import STORED_SIDE
from vlm4rec_spark.demo.training.tower import PATCH, SIDE


def export(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    """Write bf16 weights, tokenizer and processor; no code and no pickle."""
    model.to(torch.bfloat16).save_pretrained(folder)
    images = CLIPImageProcessor(
        size={"shortest_edge": STORED_SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        do_center_crop=True,
    )
    LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    ).save_pretrained(folder)
    weights = folder / "model.safetensors"
    rename_for_vllm(weights)
    weights.chmod(0o644)


def rename_for_vllm(path: Path) -> None:
    """Give the tensors the names vLLM looks for; transformers accepts them as well."""
    renamed = {_vllm_name(name): value for name, value in load_file(path).items()}
    save_file(renamed, path, metadata={"format": "pt"})


def _vllm_name(name: str) -> str:
    plain = name.removeprefix("model.")
    if plain.startswith("vision_tower."):
        rest = plain.removeprefix("vision_tower.").removeprefix("vision_model.")
        return f"model.vision_tower.vision_model.{rest}"
    if plain.startswith("multi_modal"):
        return f"model.{plain}"
    if plain.startswith("language_model.lm_head"):
        return plain.removeprefix("language_model.")
    if plain.startswith("language_model."):
        rest = plain.removeprefix("language_model.").removeprefix("model.")
        return f"model.language_model.{rest}"
    return plain
