# Databricks notebook source
# MAGIC %md
# MAGIC # Tune rules: what leaves, what comes?
# MAGIC A rule is a condition in SQL that every listed item meets. Try it here before it is in
# MAGIC force: no table is written. Needs the tables of both jobs.

# COMMAND ----------
from pyspark.sql import functions as F

from vlm4rec_spark import Pipeline, notebook
from vlm4rec_spark.audit.inputs_job import thumbnails
from vlm4rec_spark.gallery import Card, gallery
from vlm4rec_spark.topk.facts_job import rule_frame
from vlm4rec_spark.topk.rule_checks import parsed

pipeline = notebook.pipeline("--conf demo")
context = pipeline.context

# COMMAND ----------
# MAGIC %md
# MAGIC ## The rule
# MAGIC Over `price`, `brand`, `category`, `title`, `first_seen`, `source.NAME` and what the model
# MAGIC saw: `attributes.colour.value <> 'black'`. It is parsed and checked before any work; a
# MAGIC wrong name is told with the near ones. An item whose attribute is not visible does not
# MAGIC pass.

# COMMAND ----------
rule = "price < 100 AND title IS NOT NULL"
(checked,) = parsed(context.config, [rule], "rule")

# COMMAND ----------
# MAGIC %md
# MAGIC ## What does it cost?
# MAGIC Items that stay, by category, and places of today's lists that they hold. A rule that
# MAGIC leaves a category empty says so here, not in the shop.

# COMMAND ----------
judged = rule_frame(context).selectExpr(
    "item_id", "coalesce(category, '') AS category", f"coalesce({checked.sql}, false) AS stays"
)
staying = F.count_if("stays").alias("that stay")
by_category = judged.groupBy("category").agg(F.count("*").alias("items"), staying)
listed = pipeline.table("recommendations").join(judged, "item_id", "left")
places = listed.agg(F.count("*").alias("places"), staying)
told = [
    notebook.rows_table("Items", by_category.orderBy("category")),
    notebook.rows_table("Places in today's lists", places),
]
notebook.show("cost", f"What '{rule}' costs", told)

# COMMAND ----------
# MAGIC %md
# MAGIC ## Lists with and without it
# MAGIC The same code as the nightly job, for a few shoppers. Caps, pins, promotions and MMR
# MAGIC (`topk.rerank`) are tried the same way: change the settings instead of the rule.

# COMMAND ----------
rows = pipeline.table("recommendations").select("user_id").distinct().orderBy("user_id").limit(2)
users = [row["user_id"] for row in rows.collect()]
topk = context.config.topk.model_copy(update={"rules": (*context.config.topk.rules, rule)})
trying = Pipeline(context.spark, context.config.model_copy(update={"topk": topk}))
titles = pipeline.table("items").select("item_id", "title")
before, after = (
    lists.join(titles, "item_id", "left").orderBy("user_id", "rank").collect()
    for lists in (pipeline.trial(users), trying.trial(users))
)
pictures = thumbnails(context, [row["item_id"] for row in (*before, *after)])
for user in users:
    had = {row["item_id"]: row for row in before if row["user_id"] == user}
    gets = {row["item_id"]: row for row in after if row["user_id"] == user}
    cards = [
        Card(item, row["title"], [row["reason"]], "" if item in had else "comes")
        for item, row in gets.items()
    ]
    cards += [
        Card(item, row["title"], [row["reason"]], "leaves")
        for item, row in had.items()
        if item not in gets
    ]
    figure = gallery(f"The list of {user}", cards, pictures)
    notebook.show(f"rules for {user}", f"With '{rule}'", figure=figure)

# COMMAND ----------
# MAGIC %md
# MAGIC ## Put it in force
# MAGIC Write it into `topk.rules` of your configuration; the next recommend job obeys it. A rule
# MAGIC for some shoppers only goes into `topk.user_rules`, by their segment.
