# Databricks notebook source
# MAGIC %md
# MAGIC # Inspect descriptions: what does the model say?
# MAGIC Lists are made of these words, so look at them before you look at lists. Needs the tables
# MAGIC of the catalog job; writes nothing.

# COMMAND ----------
from collections import Counter

from pyspark.sql import functions as F

from vlm4rec_spark import notebook
from vlm4rec_spark.audit import words
from vlm4rec_spark.audit.inputs_job import read_items, thumbnails
from vlm4rec_spark.evaluation.tables import Bar, Table
from vlm4rec_spark.gallery import Card, gallery

pipeline = notebook.pipeline("--conf demo")
items = read_items(pipeline.context)

# COMMAND ----------
# MAGIC %md
# MAGIC ## Read some
# MAGIC Is the picture the item's own? Does the description say what a shopper sees, and nothing
# MAGIC that cannot be seen? A value is followed by the model's confidence, where it gives one.

# COMMAND ----------
described = [n for n, text in enumerate(items.descriptions) if text][:12]
pictures = thumbnails(pipeline.context, [items.ids[n] for n in described])


def said(n: int) -> str:
    """Return the attributes of an item, 'colour: red (0.93)'."""
    sure = items.confidences[n]
    return "; ".join(
        f"{name}: {value} ({sure[name]:.2f})" if name in sure else f"{name}: {value}"
        for name, value in items.words[n].items()
    )


cards = [Card(items.ids[n], items.titles[n], [items.descriptions[n], said(n)]) for n in described]
notebook.show("descriptions", "What the model says", figure=gallery("Items", cards, pictures))

# COMMAND ----------
# MAGIC %md
# MAGIC ## How much does each attribute tell?
# MAGIC Entropy near 0: always the same word, so the question adds nothing. Mostly *not visible*:
# MAGIC the pictures cannot answer it. Thousands of values: close the list in your attribute file.

# COMMAND ----------
spreads = words.spreads(items.attributes)
filled = [
    (s.name, f"{s.asked:,}", f"{s.not_visible:.0%}", f"{s.values:,}", f"{s.entropy:.2f}")
    for s in spreads
]
header = ("attribute", "asked", "not visible", "values", "entropy, bits")
values = []
for spread in spreads:
    counts = Counter(item[spread.name] for item in items.words if spread.name in item)
    for value, n in counts.most_common(5):
        share = n / counts.total()
        bar = Bar(share, 0.0, share, 0.0, 1.0, is_baseline=False)
        values.append((f"{spread.name}: {value}", bar, f"{share:.0%}"))
notebook.show(
    "attributes",
    "What the attributes tell",
    [
        Table("Attributes", header, filled),
        Table("Commonest values", ("value", "share of the visible", ""), values),
    ],
)

# COMMAND ----------
# MAGIC %md
# MAGIC ## What went wrong?
# MAGIC A bad picture or answer becomes a row with a code; the next run tries again what can be
# MAGIC mended.

# COMMAND ----------
answers = pipeline.table("descriptions").groupBy("status", "error_code")
pictures_read = pipeline.table("images").groupBy("status", "code")
notebook.show(
    "failures",
    "What went wrong",
    [
        notebook.rows_table("Answers", answers.agg(F.count("*").alias("n")).orderBy("status")),
        notebook.rows_table(
            "Pictures", pictures_read.agg(F.count("*").alias("n")).orderBy("status")
        ),
    ],
)
