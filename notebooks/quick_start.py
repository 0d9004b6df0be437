# Databricks notebook source
# MAGIC %md
# MAGIC # Quick start: your own catalogue
# MAGIC Pictures and titles in, lists with reasons out. `--conf` names a YAML file with the keys in
# MAGIC which your shop differs from `conf/base.yml` (README, *Your own data*); the default is the
# MAGIC synthetic shop of `make demo`. Here the widget **arguments** takes what stands behind
# MAGIC `vlm4rec catalog`; without a notebook: `python notebooks/quick_start.py --conf
# MAGIC my_shop.yml`.

# COMMAND ----------
from pyspark.sql import functions as F

from vlm4rec_spark import notebook
from vlm4rec_spark.audit.inputs_job import thumbnails
from vlm4rec_spark.gallery import Card, gallery

pipeline = notebook.pipeline("--conf demo")

# COMMAND ----------
# MAGIC %md
# MAGIC ## 1. Describe and embed
# MAGIC Only what is new or changed costs model time: run it twice, and the second run sends
# MAGIC nothing. A large catalogue belongs into the job (`conf/databricks`), with `vlm4rec
# MAGIC estimate` before it.

# COMMAND ----------
report = pipeline.catalog()
notebook.show_report(report)

# COMMAND ----------
# MAGIC %md
# MAGIC ## 2. Make lists
# MAGIC Every list is full, holds nothing the shopper has seen, and its recall against exact search
# MAGIC is measured on sampled users (`topk.audited_recall`).

# COMMAND ----------
report = pipeline.recommend()
notebook.show_report(report)

# COMMAND ----------
# MAGIC %md
# MAGIC ## 3. Look at three lists
# MAGIC Each item says why it is there.

# COMMAND ----------
lists = pipeline.table("recommendations")
users = lists.where("arm = 'profile'").select("user_id").distinct().orderBy("user_id").limit(3)
titles = pipeline.table("items").select("item_id", "title")
shown = lists.where("rank <= 5").join(users, "user_id").join(titles, "item_id", "left")
rows = shown.orderBy("user_id", "rank").collect()
pictures = thumbnails(pipeline.context, [row["item_id"] for row in rows])
for user in sorted({row["user_id"] for row in rows}):
    cards = [
        Card(row["item_id"], row["title"], [row["reason"]])
        for row in rows
        if row["user_id"] == user
    ]
    notebook.show(f"list of {user}", f"For {user}", figure=gallery("Best first", cards, pictures))

# COMMAND ----------
# MAGIC %md
# MAGIC ## 4. Search by a sentence
# MAGIC The sentence is embedded as the descriptions are, so it needs no word in common with a
# MAGIC title.

# COMMAND ----------
sentence = "a present for someone who likes long walks"
found = pipeline.search(sentence, k=8).collect()
pictures = thumbnails(pipeline.context, [row["item_id"] for row in found])
cards = [
    Card(row["item_id"], row["title"], [", ".join((row["attributes"] or {}).values())])
    for row in found
]
notebook.show("search", sentence, figure=gallery("Nearest items", cards, pictures))

# COMMAND ----------
# MAGIC %md
# MAGIC ## 5. Every run is on record
# MAGIC What it did, how long it took and what held it up; `vlm4rec runs` shows the same.

# COMMAND ----------
runs = pipeline.table("runs").where(F.col("run_id") == pipeline.context.run_id)
runs = runs.orderBy("started_at").select("stage", "seconds", "bottleneck")
notebook.show("runs", "This run", [notebook.rows_table("Stages", runs)])
