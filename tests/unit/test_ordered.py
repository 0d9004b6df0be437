from __future__ import annotations

import io

from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlm4rec_spark.config import load_config
from vlm4rec_spark.descriptions.ordered import describe_in_order
from vlm4rec_spark.descriptions.specs import worker_spec

CONFIG = load_config(
    None,
    ["describe.engine.kind=fake", "describe.engine.latency_ms=4", "describe.engine.max_num_seqs=3"],
)


def png(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (4, 4), shade).save(out, "PNG")
    return out.getvalue()


PICTURES = [png(shade) for shade in range(5)]


@given(st.lists(st.lists(st.integers(0, 5), max_size=5), max_size=5))
@settings(max_examples=15)
def test_answers_come_in_the_order_and_the_batches_of_the_pictures(shapes: list[list[int]]) -> None:
    spec = worker_spec(CONFIG, "run")
    batches = [[PICTURES[n] if n < 5 else None for n in shape] for shape in shapes]
    found = list(describe_in_order(spec, iter(batches)))
    assert [len(batch) for batch in found] == [len(batch) for batch in batches]
    alone = [next(describe_in_order(spec, [[picture]]))[0] for picture in PICTURES]
    for answers, shape in zip(found, shapes, strict=True):
        for answer, n in zip(answers, shape, strict=True):
            expected = alone[n] if n < 5 else None
            told = None if answer is None else answer["description"]
            assert told == (None if expected is None else expected["description"])
