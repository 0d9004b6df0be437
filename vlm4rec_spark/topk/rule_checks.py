"""Checking rules, and names of attributes, before any work."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from vlm4rec_spark.descriptions.specs import schema_book
from vlm4rec_spark.errors import ConfigError, near
from vlm4rec_spark.topk.rules import Rule, parse_rules, unknown_source

if TYPE_CHECKING:
    from vlm4rec_spark.config import Config


def check_rules(config: Config) -> None:
    """Parse every rule of the configuration, and check the names of facets.

    Raises:
        ConfigError: a rule cannot be parsed or names what does not exist; before any work.
    """
    mistakes = []
    for texts, where in (
        (config.topk.rules, "topk.rules"),
        (tuple(config.topk.user_rules.values()), "topk.user_rules"),
        (tuple(p.rule for p in config.topk.rerank.promote), "topk.rerank.promote"),
    ):
        try:
            parsed(config, texts, where)
        except ConfigError as error:
            mistakes.append(str(error))
    mistakes += _unknown(config, config.profiles.facets, "profiles.facets")
    if config.topk.user_rules and not config.sources.users.is_given:
        mistakes.append("topk.user_rules needs sources.users: it tells the segment of each user.")
    business = config.topk.rerank.business
    if business and business.column != "price":
        mistakes += _not_a_number(business.column, config.sources.items.columns.attributes)
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def _not_a_number(column: str, sources: Collection[str]) -> list[str]:
    """Return what is wrong with a business column that is not the price."""
    where = f"topk.rerank.business.column '{column}'"
    kind, _, name = column.partition(".")
    if kind != "source" or not name:
        return [f"{where}: price or source.NAME."]
    problem = unknown_source(name, sources)
    return [f"{where}: {problem}"] if problem else []


def check_facets(config: Config) -> None:
    """Check the names of all facets that an evaluation makes spaces of.

    Raises:
        ConfigError: no attribute file asks for one; before any work.
    """
    mistakes = _unknown(config, config.profiles.facets, "profiles.facets")
    for arm, change in config.evaluate.profile_arms.items():
        where = f"evaluate.profile_arms.{arm}.facets"
        mistakes += _unknown(config, change.facets or {}, where)
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def _unknown(config: Config, facets: Mapping[str, float], where: str) -> list[str]:
    """Return a sentence for each facet that is no attribute."""
    known = attribute_names(config) if facets else []
    return [
        f"{where}: unknown attribute '{name}'{near(name, known)}"
        for name in facets
        if name not in known
    ]


def search_rules(
    config: Config, condition: str | None, segment: str | None = None
) -> tuple[Rule, ...]:
    """Return the rules that hold in a search: those of lists, and its own condition.

    Args:
        config: the configuration.
        condition: of this search.
        segment: of the user it is for.

    Raises:
        ConfigError: a rule or the condition is wrong.
    """
    topk = config.topk
    of_user = [topk.user_rules[segment]] if segment in topk.user_rules else []
    return (
        *parsed(config, topk.rules, "topk.rules"),
        *parsed(config, of_user, "topk.user_rules"),
        *parsed(config, [condition] if condition else [], "where"),
    )


def parsed(config: Config, texts: Iterable[str], where: str) -> tuple[Rule, ...]:
    """Parse conditions over the columns and attributes of this configuration.

    Raises:
        ConfigError: with every mistake.
    """
    wanted = tuple(texts)
    if not wanted:
        return ()
    sources = config.sources.items.columns.attributes
    return parse_rules(wanted, attribute_names(config), where, sources)


def attribute_names(config: Config) -> list[str]:
    """Return the attributes that any of the attribute files asks for, by name."""
    book = schema_book(config)
    schemas = (book.default, *(schema for _, schema in book.categories))
    return sorted({field.name for schema in schemas for field in schema.fields})
