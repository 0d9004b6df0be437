"""Write rectools.json: what RecTools says of the check data.

RecTools needs numpy < 2, so it has an environment of its own:

    python -m venv /tmp/rectools && /tmp/rectools/bin/pip install rectools==0.19.0
    PYTHONPATH=. /tmp/rectools/bin/python tests/golden/make_rectools.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from rectools.metrics import (
    MAP,
    MRR,
    NDCG,
    AvgRecPopularity,
    CatalogCoverage,
    HitRate,
    IntraListDiversity,
    MeanInvUserFreq,
    Precision,
    Recall,
    Serendipity,
    calc_metrics,
)
from rectools.metrics.distances import PairwiseDistanceCalculator

from tests.golden.check_data import ITEMS, K, check_data, features


class Cosine(PairwiseDistanceCalculator):
    """1 - cosine of our own vectors."""

    def _get_distances_for_item_pairs(self, items_0: np.ndarray, items_1: np.ndarray) -> np.ndarray:
        rows = features()
        return 1 - (rows[np.asarray(items_0)] * rows[np.asarray(items_1)]).sum(1)


def main() -> None:
    train, test, lists = check_data()
    frame = pd.DataFrame(lists, columns=["user_id", "item_id", "rank"])
    catalog = list(range(ITEMS))
    metrics = {
        "NDCG": NDCG(k=K, divide_by_achievable=True),
        "MAP by |G|": MAP(k=K),
        "MRR": MRR(k=K),
        "HitRate": HitRate(k=K),
        "Recall": Recall(k=K),
        "Precision": Precision(k=K),
        "Novelty": MeanInvUserFreq(k=K),
        "Coverage": CatalogCoverage(k=K, normalize=True),
        "ARP": AvgRecPopularity(k=K),
        "Serendipity": Serendipity(k=K),
        "Diversity": IntraListDiversity(k=K, distance_calculator=Cosine()),
    }
    found = calc_metrics(
        metrics,
        frame,
        interactions=pd.DataFrame(test, columns=["user_id", "item_id"]),
        prev_interactions=pd.DataFrame(train, columns=["user_id", "item_id"]),
        catalog=catalog,
    )
    serendipity = Serendipity(k=K).calc_per_user(
        frame,
        pd.DataFrame(test, columns=["user_id", "item_id"]),
        pd.DataFrame(train, columns=["user_id", "item_id"]),
        catalog,
    )
    diversity = metrics["Diversity"].calc_per_user(frame)
    found["Diversity of lists of two or more"] = float(
        diversity[frame.groupby("user_id").size().ge(2)].mean()
    )
    found["Serendipity, sum over users"] = float(serendipity.sum())
    path = Path(__file__).with_name("rectools.json")
    path.write_text(json.dumps({k: float(v) for k, v in found.items()}, indent=2) + "\n", "utf-8")


main()
