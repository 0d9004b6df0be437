"""What can become of a row of the log, and how many rows it became of."""

from __future__ import annotations

from dataclasses import dataclass

FATES = {
    "null_ids": "has no user or item",
    "unreadable_timestamps": "has no time that can be read",
    "future_timestamps": "lies in the future",
    "unknown_items": "names an item that is not in the catalogue",
    "duplicates": "is there twice",
    "train": "training: before the cut",
    "not_relevant": "after the cut, of an event type that does not count as relevant",
    "no_history": "after the cut, of a user with nothing before it that counts",
    "seen_before": "after the cut, of an item the user had before it",
    "warm_item": "after the cut, of an item with events before it (split cold_item)",
    "repeated": "after the cut, of an item the user turned to again",
    "test": "test",
}
"""Fate -> what it means, in the order in which it is decided."""


@dataclass(frozen=True)
class Step:
    """How many rows, users and items met one fate."""

    fate: str
    rows: int
    users: int
    items: int

    @property
    def meaning(self) -> str:
        """The fate in words."""
        return FATES[self.fate]
