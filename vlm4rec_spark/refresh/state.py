"""What the last run left for the next one, and when the next one cannot go on from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from vlm4rec_spark import __version__
from vlm4rec_spark.topk.snapshot import FORMAT

if TYPE_CHECKING:
    from pathlib import Path

    from vlm4rec_spark.config import Config

HOW_NOT_WHAT = {
    "refresh", "rebuild_above", "audit_users", "index_path", "engine", "recall_target", "shards",
}  # fmt: skip
"""Settings of `topk` that leave the lists as they are, but for the recall."""


@dataclass(frozen=True)
class State:
    """A finished stage: what it was made from, and what it left in its tables."""

    signature: str
    """Of everything that shapes all profiles or lists at once."""
    snapshot: str
    """Folder of the item matrix."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """Rows of each table of the stage."""
    allowed: str = ""
    """Array beside the matrix: which items might be listed."""
    engine: tuple[str, int] = ("exact", 0)
    """Name and width of the search."""
    users: str = ""
    """Folder with what is kept of each user."""

    def write(self, path: Path) -> None:
        """Write the file that says that the stage has finished."""
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @staticmethod
    def read(path: Path) -> State | None:
        """Return the state, or None where there is none that this version can read."""
        try:
            found = json.loads(path.read_text("utf-8"))
            name, width = found.pop("engine")
            return State(**found, engine=(name, width))
        except (OSError, ValueError, TypeError, KeyError):
            return None


@dataclass(frozen=True)
class Drift:
    """How much changed since the last run."""

    users: int
    """Users there are."""
    users_changed: int
    """Of these, those whose profile changed; and users who are gone."""
    items: int
    items_changed: int

    def beyond(self, most: float) -> str | None:
        """Say what changed by more than a part; None: nothing did."""
        for what, n, changed in (
            ("users", self.users, self.users_changed),
            ("items", self.items, self.items_changed),
        ):
            if changed > most * n:
                return f"{changed} of {n} {what} changed, more than topk.rebuild_above {most:g}"
        return None


def signature(config: Config, *facts: object) -> str:
    """Return 16 hex digits that change with any setting or fact that shapes all lists at once."""
    settings: dict[str, Any] = config.model_dump(mode="json", by_alias=True)
    topk = {name: value for name, value in settings["topk"].items() if name not in HOW_NOT_WHAT}
    profiles = {name: value for name, value in settings["profiles"].items() if name != "now"}
    described = (settings["describe"]["min_confidence"], settings["describe"]["attributes"])
    parts = (__version__, FORMAT, topk, profiles, settings["embed"], described, facts)
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def history_signature(config: Config) -> str:
    """Return 16 hex digits that change with any setting that shapes histories."""
    settings = config.model_dump(mode="json", by_alias=True)
    parts = (settings["sources"], settings["profiles"], settings["topk"]["mask_events"])
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def moves_together(config: Config) -> str | None:
    """Say why a change of one item moves the vectors of all; None: it does not."""
    profiles = config.profiles
    if profiles.centre or profiles.whiten or profiles.facets:
        return "profiles.centre, whiten and facets move the vectors of all items"
    return None


def why_anew(before: State | None, now: State) -> str | None:
    """Say why a stage cannot go on from the last run; None: it can."""
    if before is None:
        return "no finished run with topk.refresh changed to go on from"
    if before.signature != now.signature:
        return "the settings are not those of the last run"
    for table, n in before.rows.items():
        if now.rows.get(table) != n:
            return f"the table {table} was changed by something else since the last run"
    return None
