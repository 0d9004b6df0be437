"""Open a source: any Spark reader, a database in parallel, secrets by reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm4rec_spark.catalog.addresses import redact
from vlm4rec_spark.catalog.jdbc import partition_options, range_query
from vlm4rec_spark.credentials import hidden, resolved_options, secret_values
from vlm4rec_spark.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from vlm4rec_spark.config_inputs import Source

_CSV_DEFAULTS = {"header": "true", "escape": '"'}
_JDBC_DEFAULTS = {"fetchsize": "10000"}
"""Some drivers, PostgreSQL's among them, bring a whole table into memory unless told otherwise."""
LONGEST_REASON = 300


def open_source(
    spark: SparkSession, source: Source, where: str, low: str | None = None
) -> tuple[DataFrame, dict[str, str]]:
    """Return the source as a frame, and its columns with their Spark types.

    Args:
        spark: session.
        source: what to read.
        where: how the source is called in messages, for example 'sources.items'.
        low: where parallel reads over the partition column start, None: at its lowest value.

    Raises:
        ConfigError: the source is not configured, a secret is not there, or a name is no name.
        SourceError: the source cannot be read.
    """
    if not source.is_given:
        raise ConfigError(
            f"{where} is not configured: set {where}.table, or {where}.format with a path or with "
            "options."
        )
    try:
        frame = _frame(spark, source, where, low)
        return frame, {field.name: field.dataType.simpleString() for field in frame.schema.fields}
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - raised again below, without what may hold a secret
        # Spark's own errors differ between Classic and Connect; each is one sentence to the user.
        place = redact(source.table or source.path or "its options")
        first_line = str(error).strip().partition("\n")[0]
        reason = hidden(redact(first_line), secret_values(source.options))[:LONGEST_REASON]
        cause = None if secret_values(source.options) else error
        raise SourceError(f"{where}: cannot read {source.format} from {place}: {reason}") from cause


def _frame(spark: SparkSession, source: Source, where: str, low: str | None) -> DataFrame:
    given = resolved_options(source.options)
    if source.format == "jdbc":
        options = {**_JDBC_DEFAULTS, **given}
        if source.partitions:
            query = range_query(source, where)
            bounds = spark.read.format("jdbc").options(**options, query=query).load()
            row = bounds.selectExpr("CAST(low AS STRING)", "CAST(high AS STRING)").collect()[0]
            options |= partition_options(source, row.asDict(), low)
        if source.table:
            options["dbtable"] = source.table
        return spark.read.format("jdbc").options(**options).load()
    defaults = _CSV_DEFAULTS if source.format == "csv" else {}
    reader = spark.read.options(**{**defaults, **given})
    if source.table:
        return reader.table(source.table)
    return reader.format(source.format).load(source.path)
