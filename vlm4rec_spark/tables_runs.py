"""Tables about the runs themselves: what they did, what they measured, who is at work."""

from __future__ import annotations

import pyarrow as pa

from vlm4rec_spark.table_spec import DOUBLE, LONG, MOMENT, TEXT, Column, one_of, table

RUNS = table(
    "runs",
    "What each stage of each run did",
    "run_id stage",
    Column("run_id", TEXT, "Run"),
    Column("stage", TEXT, "catalog, descriptions, embeddings, profiles, topk"),
    Column("started_at", MOMENT, "Start of the stage"),
    Column("seconds", DOUBLE, "Wall-clock seconds"),
    Column("config_hash", TEXT, "Hash of the configuration, without secrets"),
    Column("git_commit", TEXT, "Commit of the code, where it runs from a checkout"),
    Column("versions", pa.map_(TEXT, TEXT), "Package -> version"),
    Column("counts", pa.map_(TEXT, LONG), "Rows in, out, failed, reused ..."),
    Column("figures", pa.map_(TEXT, DOUBLE), "Rates and audits"),
    Column("bottleneck", TEXT, "What the stage spent its time on, in words"),
    by_many=True,
)

METRICS = table(
    "metrics",
    "What an evaluation found: a value with its interval for each arm, slice and metric",
    "run_id arm pool variants slice segment metric",
    Column("run_id", TEXT, "Evaluation; its test is read once"),
    Column("arm", TEXT, "What made the lists"),
    Column("pool", TEXT, "What was ranked: all, or cold (items without a training event) alone"),
    Column("variants", TEXT, "kept, or collapsed: variants of the history are no candidates"),
    Column("slice", TEXT, "everyone, history, temperature, popularity, category, price, age"),
    Column("segment", TEXT, "Part of the slice; all for everyone"),
    Column("metric", TEXT, "For example NDCG@10"),
    Column("value", DOUBLE, "Mean over the users; null where no user has a value"),
    Column("low", DOUBLE, "Lower end of the 95 % interval, paired bootstrap over users"),
    Column("high", DOUBLE, "Upper end"),
    Column("n_users", LONG, "Users; the same for every arm"),
    Column("baseline", TEXT, "Arm the difference is taken to"),
    Column("difference", DOUBLE, "Value less that of the baseline"),
    Column("difference_low", DOUBLE, "Lower end of the 95 % interval of the difference"),
    Column("difference_high", DOUBLE, "Upper end"),
    Column("p_holm", DOUBLE, "p of the difference, Holm over the arms"),
    checks=(one_of("pool", "all", "cold"), one_of("variants", "kept", "collapsed")),
    cluster_by="run_id arm slice metric",
)

METRICS_PER_USER = table(
    "metrics_per_user",
    "The metrics of every test user, for slices and tests of your own",
    "run_id arm pool variants user_id",
    Column("run_id", TEXT, "Evaluation"),
    Column("arm", TEXT, "What made the lists"),
    Column("pool", TEXT, "all or cold"),
    Column("variants", TEXT, "kept or collapsed"),
    Column("user_id", TEXT, "Test user"),
    Column("metrics", pa.map_(TEXT, DOUBLE), "Metric -> value; absent where a list has none"),
)

LEASES = table(
    "leases",
    "Which run is working on what: a job runs once at a time",
    "job",
    Column("job", TEXT, "catalog_job or recommend_job"),
    Column("holder", TEXT, "Run that works; null when none does"),
    Column("process", TEXT, "Host, number and start of its process"),
    Column("renewed_at", MOMENT, "Its last sign of life"),
    by_many=True,
)
