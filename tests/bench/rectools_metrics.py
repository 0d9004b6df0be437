"""Time RecTools over the files of `evaluate.py`; runs in RecTools' own environment."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
from rectools.metrics import (
    MAP,
    MRR,
    NDCG,
    AvgRecPopularity,
    HitRate,
    MeanInvUserFreq,
    Precision,
    Recall,
    Serendipity,
    calc_metrics,
)

K = 10


def main() -> None:
    """Print seconds and NDCG as JSON; reading the files is not timed."""
    folder, items = sys.argv[1:]
    lists = pd.read_parquet(f"{folder}/lists")[["user_id", "item_id", "rank"]]
    test = pd.read_parquet(f"{folder}/truth")[["user_id", "item_id"]]
    with pa.memory_map(items) as source:
        catalogue = pa.ipc.open_file(source).read_all().to_pandas()
    # RecTools counts training events itself: one row per user and item, as many as ours are told.
    times = catalogue["users"].to_numpy()
    train = pd.DataFrame(
        {
            "user_id": np.concatenate([np.arange(n) for n in times]),
            "item_id": np.repeat(catalogue["item_id"].to_numpy(), times),
        }
    )
    metrics = {
        "ndcg": NDCG(k=K, divide_by_achievable=True),
        "map": MAP(k=K),
        "mrr": MRR(k=K),
        "hit": HitRate(k=K),
        "recall": Recall(k=K),
        "precision": Precision(k=K),
        "novelty": MeanInvUserFreq(k=K),
        "serendipity": Serendipity(k=K),
        "arp": AvgRecPopularity(k=K),
    }
    started = time.monotonic()
    found = calc_metrics(
        metrics,
        lists,
        interactions=test,
        prev_interactions=train,
        catalog=catalogue["item_id"].tolist(),
    )
    seconds = time.monotonic() - started
    sys.stdout.write(json.dumps({"seconds": seconds, "ndcg": float(found["ndcg"])}) + "\n")


main()
