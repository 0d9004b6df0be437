# Databricks notebook source
# MAGIC %md
# MAGIC # Audit spaces: what do the words change?
# MAGIC The same items' neighbours by picture, by title, by description and by shoppers, side by
# MAGIC side. Where description and picture agree everywhere, the words add nothing; where they
# MAGIC differ, look which one you would sell. Needs the tables of the catalog job and the
# MAGIC interaction log.

# COMMAND ----------
from pathlib import Path

from vlm4rec_spark import notebook
from vlm4rec_spark.evaluation.tables import Bar, Table

pipeline = notebook.pipeline("--conf demo")
report = pipeline.audit()

# COMMAND ----------
# MAGIC %md
# MAGIC ## Side by side
# MAGIC Items where the spaces disagree most come first; filter by category or attribute. The file
# MAGIC is whole in itself: send it to a merchandiser.

# COMMAND ----------
page = Path(pipeline.context.config.audit.report) / "audit.html"
notebook.show_page("audit", page.read_text("utf-8"))

# COMMAND ----------
# MAGIC %md
# MAGIC ## How alike are two spaces?
# MAGIC Share of common neighbours. Description and shoppers: how far words foresee what is taken
# MAGIC together. Title and description: how far the titles say it already.

# COMMAND ----------
overlaps = [
    (name.removeprefix("audit.overlap_").replace("_", " and "), share)
    for name, share in report.figures.items()
    if name.startswith("audit.overlap_")
]
most = max([share for _, share in overlaps] or [1.0])
rows = [
    (pair, Bar(share, 0.0, share, 0.0, most, is_baseline=False), f"{share:.3f}")
    for pair, share in sorted(overlaps, key=lambda row: -row[1])
]
table = Table("Common neighbours", ("spaces", "share", ""), rows)
notebook.show("overlaps", "How alike the spaces are", [table])

# COMMAND ----------
# MAGIC %md
# MAGIC ## What a person should look at
# MAGIC Near-copies, contradictions with the catalogue, items in an odd category: the page lists
# MAGIC them.

# COMMAND ----------
notebook.show_report(report)
