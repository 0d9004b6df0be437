"""The model card, written from the figures."""

from __future__ import annotations

from pathlib import Path

COLUMNS = ("new", "combinations", "hidden", "shuffled")
TARGETS = {
    "valid JSON": 98,
    "type": 97,
    "colour": 97,
    "pattern": 97,
    "material": 94,
    "style": 90,
    "occasion": 90,
}
LOG_LINES = 40

HEAD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---
# Demo model of vlm4rec-spark

A LLaVA-shaped vision-language model ({megabytes:.1f} MB of bf16 weights: CLIP tower 4 x 192, MLP
projector, Llama 3 x 192, byte-level BPE tokenizer of its own) that answers the product's `fashion`
and `home` prompts about **synthetic, rendered pictures**. It was trained from scratch on two CPU
cores and on nothing but pictures drawn by `vlm4rec_spark.demo`. It has never seen a photograph:
its words about real products are meaningless. Use it for demos and tests.

Train it again: `make train-demo-model` (48,000 pictures, fixed seeds, about an hour on two cores).

## Held-out results
{n} pictures a column, greedy decoding without guidance, transformers, bf16; per cent of right
answers. *new*: clear pictures never drawn in training. *combinations*: (type, colour,
material) triples never in training. *hidden*: close-ups and dark pictures ({half}), where the right
answer is often 'not visible'. *shuffled*: the picture of another product, the control.

"""


def write_card(folder: Path, figures: dict[str, dict[str, float]], n: int, log: Path) -> None:
    """Write `folder`/README.md with the table, the other figures and the end of the log."""
    size = (folder / "model.safetensors").stat().st_size / 1e6
    lines = [HEAD.format(n=n, half=n // 2, megabytes=size)]
    lines.append("| attribute | target | " + " | ".join(COLUMNS) + " |")
    lines.append("|---" * (len(COLUMNS) + 2) + "|")
    for name in figures["new"]:
        cells = [f"{figures[column].get(name, float('nan')):.1f}" for column in COLUMNS]
        lines.append(f"| {name} | {TARGETS.get(name, '')} | " + " | ".join(cells) + " |")
    for part in ("not visible", "calibration"):
        values = ", ".join(f"{name} {value}" for name, value in figures[part].items())
        lines += ["", f"**{part}** (new and hidden pictures, all attributes): {values}."]
    if log.exists():
        tail = log.read_text("utf-8").splitlines()[-LOG_LINES:]
        lines += ["", "## End of the training log", "```", *tail, "```"]
    (folder / "README.md").write_text("\n".join(lines) + "\n", "utf-8")
