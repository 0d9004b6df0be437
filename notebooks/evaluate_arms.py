# Databricks notebook source
# MAGIC %md
# MAGIC # Evaluate arms: is it better than what you have?
# MAGIC The log is cut at a moment; lists made from what came before are held against what shoppers
# MAGIC did after. Same users, candidates, masks, encoder and k for every arm, or no result is
# MAGIC written.
# MAGIC
# MAGIC A test that is looked at until it pleases tells nothing: **each run reads its test once**.
# MAGIC Choose on the validation part, which the run keeps apart (`evaluate.validation_share`), and
# MAGIC come here to decide.

# COMMAND ----------
from pathlib import Path

from pyspark.sql import functions as F

from vlm4rec_spark import notebook
from vlm4rec_spark.evaluation import tables
from vlm4rec_spark.evaluation.results import of_row

pipeline = notebook.pipeline("--conf demo")
report = pipeline.evaluate()

# COMMAND ----------
# MAGIC %md
# MAGIC ## Arms, best first
# MAGIC A dot with its 95 % interval over users; a star where the difference to the baseline holds
# MAGIC after Holm's correction. *New items alone* is where words should win: nobody has had these
# MAGIC items. `shuffled` and `random` are controls, an arm near them has learned nothing.

# COMMAND ----------
metrics = pipeline.table("metrics").where(F.col("run_id") == pipeline.context.run_id)
results = [of_row(row.asDict()) for row in metrics.collect()]
k = pipeline.context.config.evaluate.k
notebook.show("arms", "Arms", list(tables.arms(results, k)))

# COMMAND ----------
# MAGIC %md
# MAGIC ## Where does it win?
# MAGIC By what a user had before, by the age, popularity, category and price of the item.

# COMMAND ----------
notebook.show("slices", "Slices", list(tables.slices(results, k)))

# COMMAND ----------
# MAGIC %md
# MAGIC ## The whole report
# MAGIC With verdicts in words, what became of every row of the log, and how it was made. Your own
# MAGIC lists are one more arm: `evaluate.sources` takes those of RecBole, MMRec or a TREC run.

# COMMAND ----------
page = Path(pipeline.context.config.evaluate.report) / "report.html"
notebook.show_page("report", page.read_text("utf-8"))
