"""What is published, as data: columns with their PostgreSQL types, key, and source tables."""

from __future__ import annotations

from dataclasses import dataclass

from vlm4rec_spark.tables import (
    COMPLEMENTS,
    DESCRIPTIONS,
    IMAGES,
    ITEM_VECTORS,
    ITEMS,
    PROFILES,
    RECOMMENDATIONS,
    SIMILAR_ITEMS,
    TableSpec,
)


@dataclass(frozen=True)
class PublishedTable:
    """One table as a shop sees it."""

    name: str
    key: tuple[str, ...]
    """Primary key; the first column decides which slice a row is in."""
    columns: tuple[tuple[str, str], ...]
    """Name and PostgreSQL type."""
    sources: tuple[TableSpec, ...]
    """Tables it is made from."""
    indexes: tuple[tuple[str, ...], ...] = ()
    """Columns of further indexes."""

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns in order."""
        return tuple(name for name, _ in self.columns)


def _columns(text: str) -> tuple[tuple[str, str], ...]:
    """Read 'name type, name type'."""
    return tuple((part.split()[0], " ".join(part.split()[1:])) for part in text.split(","))


PUBLISHED: dict[str, PublishedTable] = {
    table.name: table
    for table in (
        PublishedTable(
            "recommendations",
            ("user_id", "rank"),
            _columns(
                "user_id text, rank int, item_id text, score double precision, reason text, "
                "because_item_id text, shared_attributes text[], arm text, run_id text"
            ),
            (RECOMMENDATIONS,),
        ),
        PublishedTable(
            "similar_items",
            ("target_item_id", "rank"),
            _columns(
                "target_item_id text, rank int, item_id text, score double precision, "
                "reason text, run_id text"
            ),
            (SIMILAR_ITEMS,),
        ),
        PublishedTable(
            "complements",
            ("target_item_id", "rank"),
            _columns(
                "target_item_id text, rank int, item_id text, slot text, "
                "score double precision, reason text, run_id text"
            ),
            (COMPLEMENTS,),
        ),
        PublishedTable(
            "item_attributes",
            ("item_id",),
            _columns(
                "item_id text, title text, category text, brand text, price double precision, "
                "available boolean, variant_group text, description text, attributes jsonb, "
                "model text"
            ),
            (ITEMS, DESCRIPTIONS),
            (("category",),),
        ),
        PublishedTable(
            "item_features",
            ("item_id", "feature"),
            _columns(
                "item_id text, feature text, value text, confidence double precision, "
                "event_timestamp timestamptz"
            ),
            (ITEMS, DESCRIPTIONS),
            (("feature", "value"),),
        ),
    )
}
"""By name, in the order they are published."""

PREVIEWED = (ITEMS, DESCRIPTIONS, IMAGES, ITEM_VECTORS, PROFILES, RECOMMENDATIONS)
"""Tables that `vlm4rec preview` reads."""
