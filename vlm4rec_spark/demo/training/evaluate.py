"""Measure the exported model against truth and write its model card."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import numpy as np

from vlm4rec_spark.demo.training.answering import Answerer, Reply
from vlm4rec_spark.demo.training.card import write_card
from vlm4rec_spark.demo.training.examples import Example, make_example, photograph
from vlm4rec_spark.demo.truth import true_attributes, true_description
from vlm4rec_spark.descriptions.answers import AnswerError, parse_answer
from vlm4rec_spark.descriptions.schema import NOT_VISIBLE

logger = logging.getLogger(__name__)
NEW_FROM = 20_000_000
"""Examples from here on were neither trained on nor watched during training."""
BINS = 10
Figures = dict[str, float]


def measure(folder: Path, n: int) -> dict[str, Figures]:
    """Return all figures of the model card, accuracies in per cent.

    `new`: clear pictures never seen; `combinations`: (type, colour, material) never seen;
    `hidden`: close-ups and dark pictures; `shuffled`: clear questions with another's picture.
    """
    answerer = Answerer(folder)
    numbers = range(NEW_FROM, NEW_FROM + n)
    new = [make_example(i, view="clear") for i in numbers]
    combinations = [make_example(i, held_out_combination=True, view="clear") for i in numbers]
    hidden = [make_example(i, view=("close-up", "dark")[i % 2]) for i in numbers[: n // 2]]
    replies = answerer.ask(new)
    pictures = [photograph(example)[0] for example in new]
    step = _derangement(new)
    shuffled = answerer.ask(new, [pictures[i] for i in step])
    hidden_replies = answerer.ask(hidden)
    return {
        "new": accuracy(new, replies),
        "combinations": accuracy(combinations, answerer.ask(combinations)),
        "hidden": accuracy(hidden, hidden_replies),
        "shuffled": accuracy(new, shuffled),
        "not visible": not_visible(new + hidden, replies + hidden_replies),
        "calibration": calibration(new + hidden, replies + hidden_replies),
    }


def _derangement(examples: list[Example]) -> list[int]:
    """Give each example the picture of another of the same schema."""
    out = list(range(len(examples)))
    for name in {e.schema.name for e in examples}:
        same = [i for i, e in enumerate(examples) if e.schema.name == name]
        for here, there in zip(same, same[7:] + same[:7], strict=True):
            out[here] = there
    return out


def _said(example: Example, reply: Reply) -> dict[str, str] | None:
    """Return the checked values ('not visible' spelled out), or None for an invalid answer."""
    try:
        answer = parse_answer(reply.text, example.schema, example.category)
    except AnswerError:
        return None
    values = {k: NOT_VISIBLE if v is None else v for k, v in answer.attributes.items()}
    return {**values, "description": answer.description}


def _true(example: Example) -> dict[str, str]:
    values = true_attributes(example.product, example.view)
    return {**values, "description": true_description(example.product, example.view)}


def accuracy(examples: list[Example], replies: list[Reply]) -> Figures:
    """Return the share of right values per attribute in per cent; invalid answers are wrong."""
    right: dict[str, list[bool]] = {}
    for example, reply in zip(examples, replies, strict=True):
        said, truth = _said(example, reply), _true(example)
        right.setdefault("valid JSON", []).append(said is not None)
        for field in example.schema.fields_for(example.category):
            hit = said is not None and said[field.name] == truth[field.name]
            right.setdefault(field.name, []).append(hit)
    return {name: round(100 * float(np.mean(hits)), 1) for name, hits in right.items()}


def not_visible(examples: list[Example], replies: list[Reply]) -> Figures:
    """Return precision, recall and F1 (0 to 1) of the answer 'not visible' over all attributes."""
    counts = {"hit": 0, "false alarm": 0, "miss": 0}
    for example, reply in zip(examples, replies, strict=True):
        said, truth = _said(example, reply) or {}, _true(example)
        for field in example.schema.fields_for(example.category)[:-1]:
            claimed = said.get(field.name) == NOT_VISIBLE
            hidden = truth[field.name] == NOT_VISIBLE
            counts["hit"] += claimed and hidden
            counts["false alarm"] += claimed and not hidden
            counts["miss"] += hidden and not claimed
    precision = counts["hit"] / max(1, counts["hit"] + counts["false alarm"])
    recall = counts["hit"] / max(1, counts["hit"] + counts["miss"])
    f1 = 2 * precision * recall / max(1e-9, precision + recall)
    return {"precision": round(precision, 3), "recall": round(recall, 3), "F1": round(f1, 3)}


def calibration(examples: list[Example], replies: list[Reply]) -> Figures:
    """Return the expected calibration error over ten bins of confidence, all attributes pooled."""
    sure, right = [], []
    for example, reply in zip(examples, replies, strict=True):
        said, truth = _said(example, reply) or {}, _true(example)
        for field in example.schema.fields_for(example.category)[:-1]:
            sure.append(reply.confidences.get(field.name, 0.0))
            right.append(said.get(field.name) == truth[field.name])
    confidence, hit = np.array(sure), np.array(right, float)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [
        (bins == b).mean() * abs(confidence[bins == b].mean() - hit[bins == b].mean())
        for b in np.unique(bins)
    ]
    return {
        "expected calibration error": round(float(np.sum(gaps)), 4),
        "mean confidence": round(float(confidence.mean()), 4),
        "accuracy": round(float(hit.mean()), 4),
    }


def main() -> None:
    """Measure `--model` and write its card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(__file__).parents[1] / "model")
    parser.add_argument("--work", type=Path, default=Path("build/demo-model"))
    parser.add_argument("--n", type=int, default=500)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    figures = measure(arguments.model, arguments.n)
    (arguments.model / "evaluation.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    write_card(arguments.model, figures, arguments.n, arguments.work / "training.log")
    logger.info("%s", json.dumps(figures))


if __name__ == "__main__":
    main()
