"""Ask the exported model in transformers, greedily, and keep how sure it was of each value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from vlm4rec_spark.demo.training.examples import Example, photograph
from vlm4rec_spark.demo.training.language import conversation

if TYPE_CHECKING:
    from PIL import Image

BATCH = 50
MAX_TOKENS = 120


@dataclass(frozen=True)
class Reply:
    """The model's text, and per key the probability of its value's tokens (0 to 1)."""

    text: str
    confidences: dict[str, float]


class Answerer:
    """The exported folder, loaded once."""

    def __init__(self, folder: Path) -> None:
        """Load weights and processor from `folder`; nothing is fetched."""
        self.model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
        self.model.eval()
        self.processor = AutoProcessor.from_pretrained(folder)
        self.processor.tokenizer.padding_side = "left"

    def ask(
        self, examples: list[Example], pictures: list[Image.Image] | None = None
    ) -> list[Reply]:
        """Return one reply per example; `pictures` replaces their own (for the control)."""
        images = pictures or [photograph(example)[0] for example in examples]
        out: list[Reply] = []
        for start in range(0, len(examples), BATCH):
            stop = start + BATCH
            out += self._ask_batch(examples[start:stop], images[start:stop])
        return out

    @torch.no_grad()
    def _ask_batch(self, examples: list[Example], images: list[Image.Image]) -> list[Reply]:
        prompts = [
            self.processor.apply_chat_template(
                conversation(example, with_title=False), add_generation_prompt=True
            )
            for example in examples
        ]
        inputs = self.processor(text=prompts, images=images, return_tensors="pt", padding=True)
        inputs["pixel_values"] = inputs["pixel_values"].to(torch.bfloat16)
        result = self.model.generate(
            **inputs,
            max_new_tokens=MAX_TOKENS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        tokens = result.sequences[:, inputs["input_ids"].shape[1] :]
        logits = torch.stack(result.logits, 1).float().log_softmax(-1)
        chosen = logits.gather(2, tokens[..., None])[..., 0]
        return [self._reply(row, sure) for row, sure in zip(tokens, chosen, strict=True)]

    def _reply(self, tokens: torch.Tensor, log_probabilities: torch.Tensor) -> Reply:
        tokenizer = self.processor.tokenizer
        key, sure = "", {}
        for token, log_probability in zip(tokens.tolist(), log_probabilities.tolist(), strict=True):
            if token == tokenizer.eos_token_id:
                break
            piece = tokenizer.decode([token])
            if piece.endswith('":"'):
                key = piece.removesuffix('":"').rsplit('"', 1)[-1]
                sure[key] = 1.0
            elif key:
                sure[key] *= math.exp(log_probability)
        return Reply(tokenizer.decode(tokens, skip_special_tokens=True), sure)
