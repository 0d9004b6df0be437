"""Small drawings for the report, as inline SVG that follows the page's colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlm4rec_spark.evaluation.tables import Bar

WIDTH, HEIGHT = 360, 240
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 12, 40


@dataclass(frozen=True)
class ColdCurve:
    """Values of some arms along the ages of items."""

    metric: str
    ages: Sequence[str]
    arms: Mapping[str, Sequence[float]]


def bar(cell: Bar) -> str:
    """Return a dot with its interval on a line from the cell's least to its most."""
    span = (cell.most - cell.least) or 1.0
    at, low, high = (
        100 * min(max((v - cell.least) / span, 0.0), 1.0) for v in (cell.value, cell.low, cell.high)
    )
    kind = "base" if cell.is_baseline else "own"
    return (
        f'<svg class="bar {kind}" role="img" aria-label="{cell.value:.4f}">'
        '<line x1="0" x2="100%" y1="10" y2="10" class="axis"/>'
        f'<line x1="{low:.1f}%" x2="{high:.1f}%" y1="10" y2="10" class="whisker"/>'
        f'<circle cx="{at:.1f}%" cy="10" r="4"/></svg>'
    )


def curve(chart: ColdCurve) -> str:
    """Return the curves with a legend; nothing where there is no more than one age."""
    if len(chart.ages) < 2 or not chart.arms:  # noqa: PLR2004 - a curve has two points
        return ""
    most = max(max(values) for values in chart.arms.values()) or 1.0
    step = (WIDTH - LEFT - RIGHT) / (len(chart.ages) - 1)
    height = HEIGHT - TOP - BOTTOM

    def place(n: int, value: float) -> tuple[float, float]:
        return LEFT + n * step, TOP + height * (1 - value / most)

    drawn = [
        f'<text x="{LEFT - 4}" y="{place(0, most * share)[1] + 4:.0f}" class="tick end">'
        f"{most * share:.2f}</text>"
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place(0, most * share)[1]:.1f}" '
        f'y2="{place(0, most * share)[1]:.1f}" class="grid"/>'
        for share in (0.0, 0.5, 1.0)
    ]
    for n, age in enumerate(chart.ages):
        anchor = "start" if n == 0 else "end" if n == len(chart.ages) - 1 else "middle"
        lines = age.replace(" (", "|(").split("|")
        drawn += [
            f'<text x="{place(n, 0)[0]:.1f}" y="{HEIGHT - 22 + 13 * row}" class="tick {anchor}">'
            f"{escape(line)}</text>"
            for row, line in enumerate(lines)
        ]
    for number, values in enumerate(chart.arms.values()):
        points = [place(n, value) for n, value in enumerate(values)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)
        drawn.append(f'<g class="c{number}"><polyline points="{path}"/>{dots}</g>')
    names = "".join(
        f'<li class="c{n}"><span></span>{escape(name)}</li>' for n, name in enumerate(chart.arms)
    )
    return (
        f"<figure><figcaption>{escape(chart.metric)} by the age of the item, whole catalogue "
        f'(test users in brackets)</figcaption><svg class="curve" role="img" '
        f'aria-label="cold-start curve" viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(drawn)}</svg>'
        f'<ul class="legend">{names}</ul></figure>'
    )
