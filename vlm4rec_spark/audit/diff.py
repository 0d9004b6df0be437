"""Two runs compared: what is said otherwise, whose lists moved, what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vlm4rec_spark.evaluation.tables import Table

EXAMPLES = 10


@dataclass(frozen=True)
class Agreement:
    """How often two runs gave one attribute of one item the same value ('not visible' is one)."""

    attribute: str
    items: int
    same: float
    by_chance: float
    """What two runs would agree in by giving the same values to the same shares at random."""

    @property
    def kappa(self) -> float:
        """Cohen's kappa: 1 always the same, 0 no more than chance; NaN where chance is certain."""
        rest = 1.0 - self.by_chance
        return (self.same - self.by_chance) / rest if rest > 0 else math.nan


@dataclass(frozen=True)
class Cost:
    """What the answers of one run cost."""

    run_id: str
    model: str
    prompts: str
    answers: int
    failed: int
    tokens_in: int
    tokens_out: int
    words: float
    """Mean length of a description."""


@dataclass(frozen=True)
class Moves:
    """How lists differ between two runs."""

    users: int
    changed: int
    """Users with any other item in their list."""
    overlap: float
    """Mean share of a list that stays."""
    most_moved: Sequence[tuple[str, float]]


def tables(
    costs: Sequence[Cost],
    agreements: Sequence[Agreement],
    examples: Sequence[Mapping[str, str]],
    moves: Moves | None,
) -> list[Table]:
    """Return the comparison as tables."""
    return [_costs(costs), _agreements(agreements), _examples(examples), _moves(moves)]


def _costs(costs: Sequence[Cost]) -> Table:
    def per_thousand(tokens: int, answers: int) -> str:
        return f"{1000 * tokens / answers:,.0f}" if answers else ""

    rows = [
        (c.run_id, c.model, c.prompts, f"{c.answers:,}", f"{c.failed:,}",
         per_thousand(c.tokens_in, c.answers), per_thousand(c.tokens_out, c.answers),
         f"{c.words:.1f}")
        for c in costs
    ]  # fmt: skip
    header = ("run", "model", "prompts", "answers", "failed", "tokens in / 1,000",
              "tokens out / 1,000", "words")  # fmt: skip
    return Table("What the answers cost", header, rows)


def _agreements(agreements: Sequence[Agreement]) -> Table:
    rows = [
        (a.attribute, f"{a.items:,}", f"{a.same:.1%}", f"{a.by_chance:.1%}",
         "" if math.isnan(a.kappa) else f"{a.kappa:.2f}")
        for a in sorted(agreements, key=lambda a: a.attribute)
    ]  # fmt: skip
    return Table(
        "Agreement on the same pictures", ("attribute", "items", "same value", "chance", "kappa"),
        rows, "" if rows else "The runs described no picture in common.",
    )  # fmt: skip


def _examples(examples: Sequence[Mapping[str, str]]) -> Table:
    rows = [(e["item_id"], e["attribute"], e["first"], e["second"]) for e in examples]
    return Table("Said otherwise, examples", ("item", "attribute", "first", "second"), rows)


def _moves(moves: Moves | None) -> Table:
    title, header = "Whose lists moved", ("user", "share of the list that stays")
    if moves is None:
        return Table(title, header, [], "Only one of the runs, or none, made lists.")
    rows = [(user, f"{share:.0%}") for user, share in moves.most_moved]
    return Table(
        title, header, rows,
        f"{moves.changed:,} of {moves.users:,} users have another list; {moves.overlap:.1%} of the "
        "places stay on average. The users above moved most.",
    )  # fmt: skip
