"""Write check_data.json; run once, by numpy 2.3.

PYTHONPATH=. python tests/golden/make_check_data.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.golden.check_data import ITEMS, USERS, K, Pairs


def check_data() -> tuple[Pairs, Pairs, list[tuple[int, int, int]]]:
    """Return training pairs, test pairs, and user, item, rank of the lists."""
    rng = np.random.default_rng(7)
    popularity = rng.zipf(1.4, ITEMS).astype(float)
    popularity /= popularity.sum()
    warm = popularity[: ITEMS - 20] / popularity[: ITEMS - 20].sum()
    train: Pairs = []
    test: Pairs = []
    lists = []
    for user in range(USERS):
        had = rng.choice(ITEMS - 20, size=rng.integers(2, 15), replace=False, p=warm)
        train += [(user, int(i)) for i in had]
        rest = np.setdiff1d(np.arange(ITEMS), had)
        wanted = np.empty(0, np.int64)
        if user % 10:
            wanted = rng.choice(rest, size=int(rng.choice([1, 1, 2, 3, 15])), replace=False)
            test += [(user, int(i)) for i in wanted]
        if user % 17 == 0:
            continue
        length = K if user % 7 else int(rng.integers(1, K))
        scores = rng.random(len(rest)) + np.isin(rest, wanted) * 0.6
        best = np.argsort(-scores)[:length]
        lists += [(user, int(rest[j]), rank) for rank, j in enumerate(best, start=1)]
    return train, test, lists


def main() -> None:
    names = ("train", "test", "lists")
    text = json.dumps(dict(zip(names, check_data(), strict=True)), separators=(",", ":"))
    Path(__file__).with_name("check_data.json").write_text(text + "\n", "utf-8")


main()
