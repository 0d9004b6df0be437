"""What the notebooks share: the pipeline over the session that is there, and pages that show.

On Databricks and in Jupyter a page appears below its cell; a plain `python notebooks/x.py` writes
it to vlm4rec-notebooks/.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm4rec_spark.commands.command import (
    common_options,
    config_of,
    pipeline_of,
    spark_options,
    spark_settings,
)
from vlm4rec_spark.evaluation.page import html
from vlm4rec_spark.evaluation.tables import Table
from vlm4rec_spark.logs import set_up

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vlm4rec_spark.pipeline import Pipeline
    from vlm4rec_spark.runs import RunReport

logger = logging.getLogger(__name__)
FOLDER = Path("vlm4rec-notebooks")
WIDGET = "arguments"
FRAME = '<iframe srcdoc="{}" style="width:100%;height:44rem;border:0"></iframe>'


def pipeline(default: str = "--conf demo") -> Pipeline:
    """Return the pipeline over the session that is there, or over one of our own.

    Args:
        default: what stands behind a command of `vlm4rec`. The widget `arguments` of a Databricks
            notebook, and the arguments of a plain Python run, take its place.

    Raises:
        ConfigError: with every mistake of the configuration.
    """
    from pyspark.sql import SparkSession

    from vlm4rec_spark.pipeline import Pipeline
    from vlm4rec_spark.session import apply_settings

    parser = argparse.ArgumentParser("notebook")
    common_options(parser)
    spark_options(parser)
    options = parser.parse_args(_arguments(default))
    if _shell() is None:
        set_up(verbose=options.verbose, form=options.log_format)
    session = SparkSession.getActiveSession()
    if session is None:
        return pipeline_of(options)
    apply_settings(session, spark_settings(options))
    return Pipeline(session, config_of(options))


def show(name: str, title: str, tables: Sequence[Table] = (), figure: str = "") -> None:
    """Show tables and a figure as a page of its own.

    Args:
        name: of the file, where it is written.
        title: heading.
        tables: tables, with bars where cells are `Bar`.
        figure: HTML, for example of `gallery.gallery` or `evaluation.charts.curve`.
    """
    show_page(name, html(title, [], [], tables, figure))


def show_page(name: str, page: str) -> None:
    """Show a whole page, such as a report; its style stays inside of it."""
    if _shell() is not None:
        display: Any = sys.modules["IPython.display"]
        display.display(display.HTML(FRAME.format(escape(page))))
        return
    FOLDER.mkdir(exist_ok=True)
    path = (FOLDER / f"{name}.html").absolute()
    path.write_text(page, "utf-8")
    logger.info("%s is %s", name, path)


def show_report(report: RunReport) -> None:
    """Show what a job did: its counts and figures."""
    counts = [(name, f"{count:,}") for name, count in report.counts.items()]
    figures = [(name, _cell(figure)) for name, figure in report.figures.items()]
    note = f"{report.seconds:.1f} s; {report.bottleneck}"
    told = Table("What was done", ("what", "value"), [*counts, *figures], note)
    show(report.stage, report.stage, [told])


def rows_table(title: str, df: DataFrame, note: str = "") -> Table:
    """Return a small frame as a table; numbers keep four digits."""
    rows = [[_cell(value) for value in row] for row in df.collect()]
    return Table(title, df.columns, rows, note)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _arguments(default: str) -> list[str]:
    shell = _shell()
    if shell is None:
        return sys.argv[1:] or shlex.split(default)
    widgets = getattr(shell.user_ns.get("dbutils"), "widgets", None)
    if widgets is None:
        return shlex.split(default)
    widgets.text(WIDGET, default)
    return shlex.split(widgets.get(WIDGET))


def _shell() -> Any:
    """Return the running IPython, which Databricks and Jupyter bring, or None."""
    known = sys.modules.get("IPython")
    return known.get_ipython() if known else None
