"""How far the confidences can be trusted: `make bench-confidence`.

The demo model describes synthetic products over the product's own path (a real vLLM server, guided
decoding, log-probabilities), and each attribute is compared with what was drawn. The demo world is
synthetic and its model was trained on it: the figures say that the arithmetic is right, not how
another model is calibrated on photographs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from vlm4rec_spark import testing
from vlm4rec_spark.config import load_config
from vlm4rec_spark.demo.products import sample_product
from vlm4rec_spark.demo.truth import VIEWS, true_attributes
from vlm4rec_spark.descriptions.confidence import calibration_error, reliability
from vlm4rec_spark.descriptions.requests import request_key
from vlm4rec_spark.descriptions.schema import NOT_VISIBLE
from vlm4rec_spark.descriptions.specs import worker_spec
from vlm4rec_spark.descriptions.worker import describe_rows

SEED = 77_000
"""Far from the seeds the model was trained on."""

logger = logging.getLogger("bench")


def main() -> None:
    """Describe, compare, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=600)
    n = parser.parse_args().pictures
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = load_config("demo", ["describe.engine.max_num_seqs=32"])
    spec = worker_spec(config, "bench-confidence")
    truths: dict[str, dict[str, str]] = {}

    def pending() -> Iterator[dict[str, Any]]:
        for number in range(n):
            product = sample_product(np.random.default_rng([SEED, number]))
            view = VIEWS[number % len(VIEWS)]
            content = testing.picture(product, SEED + number, view=view)
            sha256 = hashlib.sha256(content).hexdigest()
            category = product.kind.category
            key = request_key(spec.rules, [sha256], category, None)
            truths[key] = true_attributes(product, view)
            pictures = [{"uri": None, "sha256": sha256, "content": content}]
            yield {"request_key": key, "pictures": pictures, "category": category,
                   "title": None, "attempt": 1}  # fmt: skip

    sure, right, by_name = [], [], dict[str, list[tuple[float, bool]]]()
    for row in describe_rows(spec, pending()):
        for name, found in row.get("attributes") or ():
            is_right = (found["value"] or NOT_VISIBLE) == truths[row["request_key"]][name]
            sure.append(found["confidence"])
            right.append(is_right)
            by_name.setdefault(name, []).append((found["confidence"], is_right))
    table = reliability(sure, right)
    logger.info("confidence  accuracy  values")
    for row_of in table:
        logger.info("%10.3f  %8.3f  %6d", row_of.confidence, row_of.accuracy, row_of.n)
    for name, values in sorted(by_name.items()):
        error = calibration_error(reliability([c for c, _ in values], [r for _, r in values]))
        logger.info("%-14s expected calibration error %.4f over %d", name, error, len(values))
    found = {
        "pictures": n,
        "values": len(sure),
        "accuracy": round(float(np.mean(right)), 4),
        "mean_confidence": round(float(np.mean(sure)), 4),
        "expected_calibration_error": round(calibration_error(table), 4),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
