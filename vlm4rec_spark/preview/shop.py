"""What the page shows, read from the tables and the item matrix, without Spark.

Tables are Delta, or Parquet in a copy that `vlm4rec publish` made. They are opened anew for every
question, so the page shows what the last run wrote. The matrix is memory-mapped, so a large
catalogue costs disk, not memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from vlm4rec_spark.embeddings.matrix import as_matrix
from vlm4rec_spark.errors import ConfigError, MissingExtraError, SchemaError
from vlm4rec_spark.places import has_scheme
from vlm4rec_spark.topk.snapshot import Snapshot, load_snapshot, snapshots

if TYPE_CHECKING:
    from vlm4rec_spark.config import Config

READABLE = ("parquet", "delta", "csv", "orc")
"""Formats of the interaction log that are read here; others need Spark."""
LONGEST_HISTORY = 50
MOST_SPACE_ITEMS = 200_000
"""Larger catalogues are searched in the space of the item matrix only."""


@dataclass(frozen=True)
class Attribute:
    """One thing the model said; value None is 'not visible'."""

    name: str
    value: str | None
    confidence: float | None


@dataclass(frozen=True)
class Item:
    """One product, as much of it as is known."""

    item_id: str
    title: str
    category: str | None = None
    brand: str | None = None
    price: float | None = None
    available: bool = True
    first_seen: datetime | None = None
    description: str | None = None
    attributes: tuple[Attribute, ...] = ()
    n_pictures: int = 0


@dataclass(frozen=True)
class Listed:
    """One place of a list."""

    item: Item
    rank: int
    score: float
    reason: str = ""
    shared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """One thing a shopper did."""

    item: Item
    moment: datetime | None
    kind: str | None


class Shop:
    """The tables of one shop."""

    def __init__(self, config: Config, copy: Path | None = None) -> None:
        """Look for the tables where the configuration says they are, or in a copy.

        Raises:
            ConfigError: their folder is not configured or not there.
        """
        tables = config.tables
        if not copy and (not tables.location or has_scheme(tables.location)):
            raise ConfigError(
                "vlm4rec preview reads tables from a folder; set tables.location to it "
                "(--set tables.location=FOLDER), or show what `vlm4rec publish` wrote there with "
                "publish.files.preview (--copy FOLDER)."
            )
        self.config = config
        self._is_copy = copy is not None
        self._folder = copy or Path(tables.location or "").absolute() / tables.schema_name
        self._index = copy / "index" if copy else Path(config.topk.index_path).absolute()
        if not self._there("items"):
            raise ConfigError(
                f"There are no tables in {self._folder}; run `vlm4rec catalog` first."
            )

    def matrix(self) -> Snapshot:
        """Return the newest item matrix.

        Raises:
            SchemaError: there is none yet.
        """
        found = snapshots(self._index)
        if not found:
            raise SchemaError(
                f"There is no item matrix in {self._index}; run `vlm4rec recommend` first."
            )
        return load_snapshot(str(found[0]))

    def items(self, ids: Sequence[str]) -> dict[str, Item]:
        """Return the items with these ids, as many as there are."""
        wanted = list(dict.fromkeys(ids))
        rows = self._rows("items", _among("item_id", wanted))
        keys = [row["request_key"] for row in rows if row["request_key"]]
        told = {
            row["request_key"]: row
            for row in self._rows("descriptions", _among("request_key", keys))
            if row["status"] == "ok"
        }
        pictures: dict[str, int] = {}
        for row in self._rows("images", _among("item_id", wanted)):
            if row["status"] == "ok":
                pictures[row["item_id"]] = pictures.get(row["item_id"], 0) + 1
        sure = self.config.describe.min_confidence
        return {
            row["item_id"]: _item(row, told.get(row["request_key"]), pictures, sure) for row in rows
        }

    def newest(self, n: int) -> list[Item]:
        """Return the items that the shop had last."""
        table = self._dataset("items").to_table(["item_id", "first_seen"])
        order = pc.sort_indices(table, [("first_seen", "descending"), ("item_id", "ascending")])
        ids = table["item_id"].take(order[:n]).to_pylist()
        return _in_order(ids, self.items(ids))

    def some_shoppers(self, n: int) -> list[str]:
        """Return a few shoppers with a list."""
        if not self._there("recommendations"):
            return []
        found: list[str] = []
        for batch in self._dataset("recommendations").to_batches(["user_id"]):
            found += [u for u in pc.unique(batch["user_id"]).to_pylist() if u not in found]
            if len(found) >= n:
                break
        return sorted(found)[:n]

    def listed(self, user_id: str) -> list[Listed]:
        """Return the list in force of a shopper, best first."""
        rows = self._rows("recommendations", ds.field("user_id") == user_id)
        rows.sort(key=lambda row: row["rank"])
        items = self.items([row["item_id"] for row in rows])
        return [
            Listed(
                items.get(row["item_id"], Item(row["item_id"], row["item_id"])),
                row["rank"],
                row["score"] or 0.0,
                row["reason"] or "",
                tuple(row["shared_attributes"] or ()),
            )
            for row in rows
        ]

    def history(self, user_id: str) -> list[Event] | None:
        """Return what a shopper did last with each item, newest first.

        None where only Spark can read the log.
        """
        source = self.config.sources.interactions
        if source.format not in READABLE or not source.path or not Path(source.path).exists():
            return None
        columns = source.columns
        log = _opened(Path(source.path), source.format)
        mine = pc.field(columns.user_id).cast(pa.string()) == user_id
        wanted = {"item": columns.item_id, "at": columns.timestamp, "kind": columns.event_type}
        named = {name: column for name, column in wanted.items() if column}
        rows = log.to_table(columns=list(named.values()), filter=mine).to_pylist()
        rows.sort(key=lambda row: str(row[named["at"]]), reverse=True)
        once = {str(row[named["item"]]): row for row in reversed(rows)}
        newest = sorted(once.values(), key=rows.index)[:LONGEST_HISTORY]
        items = self.items([str(row[named["item"]]) for row in newest])
        return [
            Event(
                items.get(str(row[named["item"]]), Item(str(row[named["item"]]), "(unknown item)")),
                row[named["at"]] if isinstance(row[named["at"]], datetime) else None,
                str(row[named["kind"]]) if "kind" in named else None,
            )
            for row in newest
        ]

    def interests(self, user_id: str) -> npt.NDArray[np.float32]:
        """Return a shopper's profile vectors, (n, d); n is 0 for one without a profile."""
        rows = self._rows("profiles", ds.field("user_id") == user_id)
        return np.asarray([row["vector"] for row in rows], dtype=np.float32)

    def nearest(
        self, query: npt.NDArray[np.float32], n: int, without: Iterable[str] = ()
    ) -> list[Listed]:
        """Return the available items nearest to a vector in the space of the matrix."""
        matrix = self.matrix()
        rows = matrix.available[~np.isin(matrix.names[matrix.available], list(without))]
        scores = matrix.vectors[rows] @ query
        order = np.lexsort((rows, -scores))[:n]
        return self.ranked([str(i) for i in matrix.names[rows[order]]], scores[order])

    def spaces(self) -> list[str]:
        """Return the spaces in which items have vectors, the served one first."""
        if not self._there("item_vectors"):
            return []
        served = self.config.embed.serve_space
        found = pc.unique(self._dataset("item_vectors").to_table(["space"])["space"]).to_pylist()
        return sorted(found, key=lambda space: (space != served, space))

    def neighbours(self, item_id: str, space: str, n: int) -> list[Listed]:
        """Return the items nearest to an item in a space, best first; none without a vector."""
        ids, vectors = self._space(space)
        position = np.flatnonzero(ids == item_id)
        if not len(position):
            return []
        scores = vectors @ vectors[position[0]]
        order = np.lexsort((np.arange(len(ids)), -scores))[: n + 1]
        others = [row for row in order if ids[row] != item_id][:n]
        return self.ranked([str(ids[row]) for row in others], scores[others])

    def picture_uri(self, item_id: str, position: int) -> str | None:
        """Return where a picture is, None for one that is not there or only in the source."""
        mine = (ds.field("item_id") == item_id) & (ds.field("position") == position)
        rows = self._rows("images", mine)
        return rows[0]["uri"] if rows and rows[0]["status"] == "ok" else None

    def words(self) -> dict[str, list[str]]:
        """Return the values of every attribute that available items have, for rules."""
        matrix = self.matrix()
        found: dict[str, set[str]] = {}
        for row in matrix.available:
            for name, value in matrix.words.of(int(row)).items():
                found.setdefault(name, set()).add(value)
        return {name: sorted(values) for name, values in sorted(found.items())}

    def _space(self, space: str) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.float32]]:
        if space == self.config.embed.serve_space:
            matrix = self.matrix()
            return matrix.names, matrix.vectors
        folder = self._folder / "item_vectors"
        return _vectors(str(folder), _version(folder), space)

    def ranked(self, ids: list[str], scores: npt.NDArray[Any]) -> list[Listed]:
        """Return items with their scores, in the order given."""
        items = self.items(ids)
        return [
            Listed(items.get(item, Item(item, item)), rank, float(score))
            for rank, (item, score) in enumerate(zip(ids, scores, strict=True), start=1)
        ]

    def _there(self, name: str) -> bool:
        folder = self._folder / name
        return folder.is_dir() if self._is_copy else _is_delta(folder)

    def _dataset(self, name: str) -> ds.Dataset:
        return _opened(self._folder / name)

    def _rows(self, name: str, condition: ds.Expression) -> list[dict[str, Any]]:
        if not self._there(name):
            return []
        rows: list[dict[str, Any]] = self._dataset(name).to_table(filter=condition).to_pylist()
        return rows


def _delta_table(folder: Path, version: int | None = None) -> Any:
    try:
        from deltalake import DeltaTable
    except ImportError as error:
        raise MissingExtraError("deltalake", "preview") from error
    return DeltaTable(str(folder), version=version)


def _is_delta(folder: Path) -> bool:
    return (folder / "_delta_log").is_dir()


def _version(folder: Path) -> int:
    """Return the version of a table; a copy has one only."""
    return int(_delta_table(folder).version()) if _is_delta(folder) else 0


def _opened(folder: Path, kind: str = "parquet", version: int | None = None) -> ds.Dataset:
    if _is_delta(folder):
        return _delta_table(folder, version).to_pyarrow_dataset()
    return ds.dataset(folder, format=kind)


@lru_cache(maxsize=4)
def _vectors(
    folder: str, version: int, space: str
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.float32]]:
    """Return ids and vectors of a space as of a version of the table."""
    good = (ds.field("space") == space) & (ds.field("status") == "ok")
    table = _opened(Path(folder), version=version).to_table(["item_id", "vector"], filter=good)
    if not len(table) or len(table) > MOST_SPACE_ITEMS:
        return np.empty(0, np.str_), np.empty((0, 0), np.float32)
    ids = np.asarray(table["item_id"].to_pylist(), np.str_)
    order = np.argsort(ids, kind="stable")
    return ids[order], as_matrix(table["item_id"], table["vector"])[order]


def _item(
    row: Mapping[str, Any],
    told: Mapping[str, Any] | None,
    pictures: Mapping[str, int],
    min_confidence: float,
) -> Item:
    """Return an item with the attributes that lists know, too: those the model was sure of."""
    seen = dict(told["attributes"] or []) if told else {}
    return Item(
        item_id=row["item_id"],
        title=row["title"] or row["item_id"],
        category=row["category"],
        brand=row["brand"],
        price=row["price"],
        available=bool(row["available"]),
        first_seen=row["first_seen"],
        description=told["description"] if told else None,
        attributes=tuple(
            Attribute(name, said["value"], said["confidence"])
            for name, said in seen.items()
            if said["confidence"] is None or said["confidence"] >= min_confidence
        ),
        n_pictures=pictures.get(row["item_id"], 0),
    )


def _among(column: str, values: Sequence[str]) -> ds.Expression:
    """Return the condition that a text column holds one of the values; of none: never."""
    return ds.field(column).isin(pa.array(values, pa.string()))


def _in_order(ids: Sequence[str], items: Mapping[str, Item]) -> list[Item]:
    return [items[item] for item in ids if item in items]
