"""Lists, test and training events that the golden files were made of: check_data.json.

400 users, 360 of them with 1 to 15 test items, 24 without a list; short lists; 20 cold items. Kept
as a file, as numpy 1.26 and 2 draw a few of the training events differently.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

USERS, ITEMS, K = 400, 150, 10
Pairs = list[tuple[int, int]]


def check_data() -> tuple[Pairs, Pairs, list[tuple[int, int, int]]]:
    """Return training pairs, test pairs, and user, item, rank of the lists."""
    data = json.loads(Path(__file__).with_name("check_data.json").read_text("utf-8"))
    train: Pairs = [(user, item) for user, item in data["train"]]
    test: Pairs = [(user, item) for user, item in data["test"]]
    return train, test, [(user, item, rank) for user, item, rank in data["lists"]]


def features() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return a unit vector of each item, for diversity, (items, 8)."""
    raw = np.random.default_rng(8).standard_normal((ITEMS, 8)).astype(np.float32)
    return np.asarray(raw / np.linalg.norm(raw, axis=1, keepdims=True), np.float32)
