"""Write replay.json: what RePlay says of the check data.

python -m venv /tmp/replay && /tmp/replay/bin/pip install replay-rec==0.22.0 polars
PYTHONPATH=. /tmp/replay/bin/python tests/golden/make_replay.py
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from replay.metrics import (
    MAP,
    MRR,
    NDCG,
    Coverage,
    HitRate,
    OfflineMetrics,
    Precision,
    Recall,
    Surprisal,
)

from tests.golden.check_data import K, check_data


def main() -> None:
    train, test, lists = check_data()
    frame = pd.DataFrame(lists, columns=["user_id", "item_id", "rank"])
    frame["rating"] = -frame.pop("rank").astype(float)
    columns = {"query_column": "user_id", "item_column": "item_id", "rating_column": "rating"}
    metrics = [
        NDCG(K),
        MAP(K),
        MRR(K),
        HitRate(K),
        Recall(K),
        Precision(K),
        Coverage(K),
        Surprisal(K),
    ]
    found = OfflineMetrics(metrics, **columns)(
        frame,
        pd.DataFrame(test, columns=["user_id", "item_id"]).assign(rating=1.0),
        pd.DataFrame(train, columns=["user_id", "item_id"]).assign(rating=1.0),
    )
    path = Path(__file__).with_name("replay.json")
    path.write_text(json.dumps({k: float(v) for k, v in found.items()}, indent=2) + "\n", "utf-8")


main()
