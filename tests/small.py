"""Settings of Spark for a few rows."""

from __future__ import annotations

from vlm4rec_spark.session import SHORT_LIVED_JAVA

SMALL = {
    "spark.driver.extraJavaOptions": SHORT_LIVED_JAVA,
    # Compiling the code of a query takes longer than a test's few rows do.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    # A description of every plan, for a page that nobody opens, is a tenth of the work.
    "spark.sql.ui.explainMode": "simple",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
}
"""What spares a session over tiny tables its overhead; the demo runs without."""
