"""Starting Spark: a local Delta session, a cluster, Connect, or what Databricks already has."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from vlm4rec_spark.errors import MissingExtraError, SessionError, reason_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)

_SESSION = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "4",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}
"""Settings a session can be given at any time."""

_STATIC = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.memory": "2g",
    # Named, it gives every Python worker OMP_NUM_THREADS=1: parallel over tasks, not inside them.
    "spark.task.cpus": "1",
}
"""Settings that must be there before the JVM starts."""

_FOR_SPARK_SUBMIT = frozenset((
    "spark.driver.defaultJavaOptions",
    "spark.driver.extraClassPath",
    "spark.driver.extraJavaOptions",
    "spark.driver.extraLibraryPath",
    "spark.driver.memory",
    "spark.driver.memoryOverhead",
))  # fmt: skip
"""Settings of the JVM that spark-submit has started when our code begins."""

_BROUGHT_BY_SPARK = (
    "com.fasterxml.jackson.core:jackson-annotations",
    "com.fasterxml.jackson.core:jackson-core",
    "com.fasterxml.jackson.core:jackson-databind",
    "com.google.code.findbugs:jsr305",
    "org.apache.hadoop:hadoop-client-api",
    "org.apache.hadoop:hadoop-client-runtime",
    "org.apache.logging.log4j:log4j-api",
    "org.apache.logging.log4j:log4j-core",
    "org.apache.logging.log4j:log4j-slf4j2-impl",
    "org.apache.parquet:parquet-hadoop",
    "org.locationtech.jts:jts-core",
    "org.roaringbitmap:RoaringBitmap",
    "org.slf4j:slf4j-api",
)
"""What Delta asks Maven for and Spark has: 70 of 90 MB that would be fetched, and copied at each
start, though Java takes Spark's own."""

SHORT_LIVED_JAVA = (
    "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseParallelGC "
    "-XX:+UseTransparentHugePages"
)
"""Java options of a JVM that works for minutes: the optimising compiler and the concurrent
collector take more time than they save. The first compiler alone would stop at 48 MB of code.
Pages of 2 MB spare a virtual machine a third of the CPU: it looks an address up in two tables."""

SMALL_DATA = {
    "spark.driver.extraJavaOptions": SHORT_LIVED_JAVA,
    # Compiling the code of a query takes longer than a few thousand rows do.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    # A description of every plan, for a page that nobody opens, is a tenth of the work.
    "spark.sql.ui.explainMode": "simple",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
    # The usual ones keep a checksum beside each file, whose rights a program of its own sets.
    "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    "spark.hadoop.fs.AbstractFileSystem.file.impl": "org.apache.hadoop.fs.local.RawLocalFs",
}
"""Settings that spare a session over tiny tables, as those of the demo, its overhead."""


def on_databricks() -> bool:
    """Tell whether this process runs on Databricks, where the session is given."""
    return "DATABRICKS_RUNTIME_VERSION" in os.environ


def runs_here(remote: str | None, settings: Mapping[str, str]) -> bool:
    """Tell whether tasks run on this machine, as neither a server nor a cluster is named."""
    places = (remote or "local", settings.get("spark.master", "local"))
    return all(place.startswith("local") for place in places)


def delta_package(spark_version: str, delta_version: str) -> str:
    """Return the Maven coordinate of Delta for a version of Spark.

    >>> delta_package("4.2.0", "4.4.0")
    'io.delta:delta-spark_4.2_2.13:4.4.0'
    >>> delta_package("4.0.1", "4.0.0")
    'io.delta:delta-spark_2.13:4.0.0'
    """
    minor = ".".join(spark_version.split(".")[:2])
    # Delta 4.0 was built for one Spark and carries no Spark version in its name.
    suffix = "" if delta_version.startswith("4.0.") else f"{minor}_"
    return f"io.delta:delta-spark_{suffix}2.13:{delta_version}"


def installed_delta_package() -> str:
    """Return the coordinate that fits the installed pyspark and delta-spark.

    Raises:
        MissingExtraError: one of the two is not installed.
    """
    try:
        return delta_package(version("pyspark"), version("delta-spark"))
    except PackageNotFoundError as error:
        raise MissingExtraError(error.name or "pyspark", "spark") from error


def local_settings(warehouse: str | None = None, packages: Sequence[str] = ()) -> dict[str, str]:
    """Return every setting of a local session; `packages` are Maven coordinates beside Delta's."""
    folder = Path(warehouse or "spark-warehouse").absolute()
    return {
        "spark.jars.packages": ",".join((installed_delta_package(), *packages)),
        "spark.jars.excludes": ",".join(_BROUGHT_BY_SPARK),
        "spark.sql.warehouse.dir": str(folder),
        # VACUUM lists a table's files in this many tasks: 10,000 unless told otherwise.
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "8",
        **_STATIC,
        **_SESSION,
    }


def build_session(
    app_name: str,
    *,
    remote: str | None = None,
    extra: Mapping[str, str] | None = None,
    warehouse: str | None = None,
    packages: Sequence[str] = (),
) -> SparkSession:
    """Return a session that can read and write Delta.

    Args:
        app_name: shown in the Spark UI and in logs.
        remote: Connect address, or `local[N]` for a Connect server of our own; None: Classic.
        extra: further Spark settings, which win; `spark.master` for a cluster. What a session that
            is there already does not take is logged.
        warehouse: folder for managed tables of a local session.
        packages: Maven coordinates that a session of our own loads beside Delta, for example of a
            JDBC driver. A cluster, a server and Databricks have theirs installed.

    Raises:
        MissingExtraError: pyspark or delta-spark is not installed.
        SessionError: Spark does not start.

    Returns:
        On Databricks, and under spark-submit, the session that is there, with nothing static set.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise MissingExtraError("pyspark", "spark") from error
    builder = SparkSession.builder.appName(app_name)
    given = dict(extra or {})
    if on_databricks():
        spark = builder.getOrCreate()
        apply_settings(spark, given)
        return spark
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ  # spark-submit has started the JVM already
    foreign = remote is not None and not remote.startswith("local")
    if submitted or foreign:
        # Given to a server one by one below: the builder would hide what it refuses.
        settings = {**_SESSION, **({} if foreign else given)}
    else:
        settings = {**local_settings(warehouse, packages), **given}
    if remote is not None:
        builder = builder.remote(remote)
    elif not submitted:
        # On a machine with a VPN or no network the host name may not lead back to it.
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        builder = builder.master(settings.pop("spark.master", "local[*]"))
    for key, value in settings.items():
        builder = builder.config(key, value)
    with warnings.catch_warnings():
        # Connect starts its server with the static settings, then warns of each that is static.
        warnings.filterwarnings("ignore", message="Failed to set")
        spark = _start(builder)
    if foreign:
        apply_settings(spark, given)
    elif submitted:
        late = sorted(_FOR_SPARK_SUBMIT & given.keys())
        _warn_of_late(dict.fromkeys(late, "spark-submit has started Java"))
    _quiet(spark)
    return spark


def apply_settings(spark: SparkSession, settings: Mapping[str, str]) -> None:
    """Give settings to a session that is there already; those that it does not take are logged."""
    late = {}
    for key, value in settings.items():
        if key == "spark.master":  # taken, and without effect
            late[key] = "Spark runs already"
            continue
        try:
            spark.conf.set(key, value)
        except Exception as error:  # noqa: BLE001 - Classic, Connect and Databricks differ
            late[key] = reason_of(error)
    _warn_of_late(late)


def _warn_of_late(reasons: Mapping[str, str]) -> None:
    """Say which settings do not apply, and why; their values may be secret."""
    for key, reason in reasons.items():
        logger.warning(
            "%s does not apply (%s); set it where Spark is started: in the cluster's Spark "
            "config, on the Connect server, or with spark-submit --conf", key, reason,
        )  # fmt: skip


def _start(builder: SparkSession.Builder) -> SparkSession:
    try:
        return builder.getOrCreate()
    except Exception as error:
        # Java, Ivy and Connect fail in their own ways; what helps is the same.
        raise SessionError(
            f"Spark did not start ({reason_of(error)}); `vlm4rec doctor` looks for the cause: "
            "Java 17 or 21, a network for the first fetch of the Delta jars, a Maven cache that is "
            "half-filled. What --spark-conf gives may be wrong, too."
        ) from error


def _quiet(spark: SparkSession) -> None:
    """Lower Spark's own log to errors where the session can do so (Classic only)."""
    context = getattr(spark, "_sc", None)
    if context is not None:
        context.setLogLevel("ERROR")
