"""Rules: SQL conditions over the catalogue and the described attributes, parsed before any work.

    price < 200 AND attributes.occasion.value = 'beach wedding'
    attributes.material.value <> 'leather' AND attributes.material.confidence > 0.8

A rule is parsed into a tree; only comparisons, logic, arithmetic and a few plain functions may
stand in it, and only known columns. What Spark evaluates is written anew from that tree, so the
text of a rule never becomes part of other SQL. As in SQL, an item for which the condition is null
(no such attribute is visible) does not pass.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vlm4rec_spark.errors import ConfigError, MissingExtraError, near

COLUMNS = (
    "item_id", "title", "category", "brand", "price", "available", "variant_group", "first_seen",
)  # fmt: skip
"""Plain columns a rule may name; besides `attributes.NAME.value`, `attributes.NAME.confidence`
(described) and `source.NAME` (further columns of the source, as text)."""
PARTS = ("value", "confidence")
LOGIC = ("And", "Or", "Not", "Paren", "Is", "In", "Between")
COMPARISONS = ("EQ", "NEQ", "GT", "GTE", "LT", "LTE", "NullSafeEQ", "Like", "ILike")
VALUES = (
    "Column", "Identifier", "Literal", "Boolean", "Null", "Neg", "Add", "Sub", "Mul", "Div",
    "Cast", "DataType", "Lower", "Upper", "Trim", "Coalesce", "Length", "Abs",
)  # fmt: skip
ALLOWED = frozenset((*LOGIC, *COMPARISONS, *VALUES))


@dataclass(frozen=True)
class Rule:
    """A condition that was parsed and checked."""

    text: str
    """As it stands in the configuration."""
    sql: str
    """Spark SQL, written from the tree."""


def parse_rules(
    texts: Iterable[str],
    attributes: Collection[str],
    where: str = "topk.rules",
    sources: Collection[str] = (),
) -> tuple[Rule, ...]:
    """Parse rules and check what they name.

    Args:
        texts: conditions.
        attributes: names of the attribute fields.
        where: the setting, for messages.
        sources: further columns of the source; none: they are not known, any may be named.

    Raises:
        ConfigError: with every mistake of every rule.
        MissingExtraError: sqlglot is not installed.
    """
    rules, mistakes = [], []
    for text in texts:
        tree, problems = _parsed(text, attributes, sources)
        mistakes += [f"{where}: '{text}': {problem}" for problem in problems]
        if tree is not None and not problems:
            sql = tree.sql(dialect="spark", identify=True, comments=False)
            rules.append(Rule(text, sql))
    if mistakes:
        raise ConfigError("Rules have mistakes:\n  - " + "\n  - ".join(mistakes))
    return tuple(rules)


def _parsed(
    text: str, attributes: Collection[str], sources: Collection[str]
) -> tuple[Any, list[str]]:
    sqlglot = _sqlglot()
    try:
        trees = sqlglot.parse(text, read="spark")
    except sqlglot.errors.SqlglotError as error:
        return None, [str(error).partition("\n")[0]]
    if len(trees) != 1 or trees[0] is None:
        return None, ["expected one condition"]
    tree = trees[0]
    kinds = {type(node).__name__ for node in tree.walk()}
    problems = [f"'{kind}' may not stand in a rule" for kind in sorted(kinds - ALLOWED)]
    is_condition = type(tree).__name__ in {*LOGIC, *COMPARISONS, "Boolean"}
    if not problems and not is_condition and text.strip() != "available":
        problems.append("expected a condition, true or false for each item")
    for column in tree.find_all(sqlglot.exp.Column):
        problem = _unknown([part.name for part in column.parts], attributes, sources)
        problems += [problem] if problem else []
    return tree, list(dict.fromkeys(problems))


def _unknown(
    parts: Sequence[str], attributes: Collection[str], sources: Collection[str]
) -> str | None:
    """Return what is wrong with a column's name, or None."""
    name = ".".join(parts)
    if parts[0] == "source" and len(parts) == len(("source", "NAME")):
        return unknown_source(parts[1], sources)
    if parts[0] == "attributes":
        if len(parts) != len(("attributes", "NAME", "value")) or parts[2] not in PARTS:
            return f"'{name}': expected attributes.NAME.value or attributes.NAME.confidence"
        if parts[1] not in attributes:
            known = ", ".join(sorted(attributes))
            return f"unknown attribute '{parts[1]}'{near(parts[1], attributes)} Known: {known}"
        return None
    if name not in COLUMNS:
        full = (*COLUMNS, *(f"attributes.{a}.value" for a in attributes))
        return f"unknown column '{name}'{near(name, full)} Known: {', '.join(COLUMNS)}"
    return None


def unknown_source(name: str, sources: Collection[str]) -> str | None:
    """Return what is wrong with the name of a further column of the source, or None."""
    if not sources or name in sources:
        return None
    known = ", ".join(sorted(sources))
    return (
        f"unknown column 'source.{name}'{near(name, sources)} "
        f"Known (sources.items.columns.attributes): {known}"
    )


def _sqlglot() -> Any:
    if importlib.util.find_spec("sqlglot") is None:
        raise MissingExtraError("sqlglot", "topk")
    import sqlglot

    return sqlglot
