"""The language half: shape of the whole model, batches of tokens, and training on the tower."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from vlm4rec_spark.demo.training.examples import Example, make_example
from vlm4rec_spark.demo.training.optimise import Optimiser, Schedule
from vlm4rec_spark.demo.training.pictures import MARGIN, PictureSet
from vlm4rec_spark.demo.training.tokenizer import IMAGE
from vlm4rec_spark.demo.training.tower import (
    HEADS,
    INNER,
    LAYERS,
    PATCH,
    PATCHES,
    SIDE,
    WIDTH,
    Tower,
    cut_patches,
    normalise,
)

logger = logging.getLogger(__name__)
IGNORED = -100
TEXT_LAYERS, TEXT_INNER, TEXT_HEADS = 3, 512, 3
MAX_POSITION = 1024


@dataclass(frozen=True)
class LanguagePlan:
    """`title_share` of the batches carry catalogue titles, which the right answer ignores."""

    steps: int = 2400
    batch: int = 32
    title_share: float = 0.35

    @property
    def schedule(self) -> Schedule:
        """Learning rates over all steps."""
        return Schedule(self.steps, warm_up=40, flat_share=0.3)


def empty_model(tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """Return the untrained model: CLIP tower, MLP projector, small Llama."""
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        image_size=SIDE,
        patch_size=PATCH,
        projection_dim=WIDTH,
        hidden_act="relu2",
    )
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=TEXT_INNER,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=TEXT_HEADS,
        num_key_value_heads=TEXT_HEADS,
        max_position_embeddings=MAX_POSITION,
        tie_word_embeddings=False,
        **ids,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=PATCHES,
        tie_word_embeddings=False,
    )
    model = LlavaForConditionalGeneration(config)
    for name, value in ids.items():
        setattr(model.generation_config, name, value)
    return model


def conversation(example: Example, *, with_title: bool) -> list[dict[str, object]]:
    """Return the messages the product sends about an example."""
    question = {"type": "text", "text": example.question(with_title=with_title)}
    return [
        {"role": "system", "content": example.system},
        {"role": "user", "content": [{"type": "image"}, question]},
    ]


class Batches:
    """Token batches: prompt with room for the picture, then the answer; padded on the right."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        """Keep the tokenizer and the ids that matter."""
        self.tokenizer = tokenizer
        self.image = int(tokenizer.convert_tokens_to_ids(IMAGE))

    def prompt(self, example: Example, *, with_title: bool) -> list[int]:
        """Return the prompt's tokens with 64 picture tokens."""
        text = self.tokenizer.apply_chat_template(
            conversation(example, with_title=with_title),
            tokenize=False,
            add_generation_prompt=True,
        )
        return self.encode(str(text).replace(IMAGE, IMAGE * PATCHES))

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, nothing added."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def make(self, examples: list[Example], *, with_title: bool) -> tuple[Tensor, Tensor]:
        """Return ids and targets, both (n, longest) int64."""
        prompts = [self.prompt(e, with_title=with_title) for e in examples]
        answers = [[*self.encode(e.answer), int(self.tokenizer.eos_token_id)] for e in examples]
        longest = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
        ids = torch.full((len(examples), longest), int(self.tokenizer.pad_token_id))
        targets = torch.full((len(examples), longest), IGNORED)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            end = len(prompt) + len(answer)
            ids[row, :end] = torch.tensor(prompt + answer)
            targets[row, len(prompt) : end] = torch.tensor(answer)
        return ids, targets


def train_language(
    tower: Tower,
    tokenizer: PreTrainedTokenizerFast,
    pictures: PictureSet,
    plan: LanguagePlan,
    seed: int,
) -> LlavaForConditionalGeneration:
    """Train projector and language model on the frozen tower; return the whole model."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = empty_model(tokenizer)
    _load_tower(model, tower)
    scale = _feature_scale(tower, pictures)
    language, projector = model.model.language_model, model.model.multi_modal_projector
    matrices = [
        p for part in (language.layers, projector) for p in part.parameters() if p.ndim == 2
    ]
    trained = (*language.parameters(), *projector.parameters(), *model.lm_head.parameters())
    optimiser = Optimiser(trained, matrices, plan.schedule, weight_decay=0.01, clip=1.0)
    batches = Batches(tokenizer)
    started, losses = time.monotonic(), []
    for step in range(plan.steps):
        rows = np.sort(rng.choice(len(pictures.pixels), plan.batch, replace=False))
        examples = [make_example(pictures.numbers[int(row)]) for row in rows]
        ids, targets = batches.make(examples, with_title=rng.random() < plan.title_share)
        top, left = (int(x) for x in rng.integers(0, 2 * MARGIN + 1, 2))
        patches = cut_patches(torch.from_numpy(pictures.pixels[rows]), top, left)
        with torch.autocast("cpu", torch.bfloat16):
            features = _features(tower, patches, scale)
            loss = _loss(model, ids, targets, features, batches.image)
        losses.append(optimiser.step(loss, step))
        if step % 100 == 99:
            seconds = time.monotonic() - started
            logger.info("language %d: loss %.4f, %.0f s", step + 1, np.mean(losses[-100:]), seconds)
    _fold_scale(model, *scale)
    return model.eval()


@torch.no_grad()
def _features(tower: Tower, patches: Tensor, scale: tuple[Tensor, Tensor]) -> Tensor:
    """Return what the tower sees of augmented patches, standardised: (n, 64, 192)."""
    mean, deviation = scale
    return (tower(normalise(patches, augment=True)).float() - mean) / deviation


def _loss(
    model: LlavaForConditionalGeneration,
    ids: Tensor,
    targets: Tensor,
    features: Tensor,
    image: int,
) -> Tensor:
    """Cross entropy of the answers' tokens, the pictures in place of their tokens."""
    language = model.model.language_model
    embedded = language.get_input_embeddings()(ids)
    spot = (ids == image)[..., None].expand_as(embedded)
    shown = model.model.multi_modal_projector(features).to(embedded.dtype)
    embedded = embedded.masked_scatter(spot, shown)
    hidden = language(inputs_embeds=embedded, use_cache=False).last_hidden_state
    said = targets[:, 1:] != IGNORED
    scores = model.lm_head(hidden[:, :-1][said])
    return functional.cross_entropy(scores.float(), targets[:, 1:][said])


def _load_tower(model: LlavaForConditionalGeneration, tower: Tower) -> None:
    target = model.model.vision_tower
    prefix = (
        "vision_model." if any(k.startswith("vision_model.") for k in target.state_dict()) else ""
    )
    weights = {prefix + name: value for name, value in tower.to_clip().items()}
    result = target.load_state_dict(weights, strict=False)
    # The post-norm of CLIP is not used by LLaVA, which reads the last hidden state.
    unknown = [name for name in result.missing_keys if "post_layernorm" not in name]
    if unknown or result.unexpected_keys:
        raise RuntimeError(f"tower and CLIP differ: {unknown} {result.unexpected_keys}")


@torch.no_grad()
def _feature_scale(tower: Tower, pictures: PictureSet) -> tuple[Tensor, Tensor]:
    """Return mean and deviation (192,) of the tower's features over 1,000 pictures."""
    features = [
        tower(normalise(cut_patches(torch.from_numpy(pictures.pixels[i : i + 100]))))
        for i in range(0, min(1000, len(pictures.pixels)), 100)
    ]
    flat = torch.cat(features).reshape(-1, WIDTH)
    return flat.mean(0), flat.std(0)


@torch.no_grad()
def _fold_scale(model: LlavaForConditionalGeneration, mean: Tensor, deviation: Tensor) -> None:
    """Put the features' standardisation into the projector's first layer."""
    layer = model.model.multi_modal_projector.linear_1
    layer.weight.div_(deviation)
    layer.bias.sub_(layer.weight @ mean)
