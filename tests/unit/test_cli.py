"""The command line: exit codes, and what it prints without starting Spark."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vlm4rec_spark.cli import _parser, main
from vlm4rec_spark.commands.command import spark_settings
from vlm4rec_spark.pipeline import combine
from vlm4rec_spark.runs import RunReport


def test_ddl_prints_every_table_without_spark(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ddl", "--set", "tables.catalog=main"]) == 0
    text = capsys.readouterr().out
    assert "CREATE TABLE IF NOT EXISTS `main`.`vlm4rec`.`recommendations`" in text
    assert "ADD CONSTRAINT rank_from_one" in text


def test_a_reader_that_has_enough_ends_no_command_with_an_error() -> None:
    ddl = [sys.executable, "-m", "vlm4rec_spark.cli", "ddl"]
    with subprocess.Popen(ddl, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 0)


def test_a_wrong_setting_ends_with_2_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "--set", "topkk.k=3"]) == 2
    assert "did you mean 'topk'?" in capsys.readouterr().err


def test_a_missing_command_ends_with_2() -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2


def test_settings_of_spark_are_collected_and_the_last_one_wins() -> None:
    given = ["spark.driver.memory=4g", " spark.driver.memory = 8g", "spark.x.options=-Da=b"]
    arguments = [word for text in given for word in ("--spark-conf", text)]
    options = _parser().parse_args(["recommend", "--master", "local[3]", *arguments])
    assert spark_settings(options) == {
        "spark.master": "local[3]",
        "spark.driver.memory": "8g",
        "spark.x.options": "-Da=b",
    }
    options = _parser().parse_args(["demo", "--spark-conf", "spark.master=local[2]"])
    assert spark_settings(options) == {"spark.master": "local[2]"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("spark.driver.memory", "'spark.driver.memory': expected KEY=VALUE with a key that begins"),
        ("driver.memory=hush", "'driver.memory': expected KEY=VALUE"),
        ("=hush", "'': expected KEY=VALUE"),
        ("spark.=hush", "'spark.': expected KEY=VALUE"),
        ("spark.jars.packages=hush", "give --package, which adds to it"),
    ],
)
def test_a_setting_that_spark_cannot_know_ends_with_2_and_its_value_is_not_told(
    text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["recommend", "--spark-conf", text])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert told in said
    assert "hush" not in said


@pytest.mark.parametrize("command", ["ddl", "preview"])
def test_a_command_that_starts_no_spark_takes_no_setting_of_it(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--spark-conf", "spark.driver.memory=8g"])
    assert "unrecognized arguments: --spark-conf" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Give a sentence, or --user ID, or --queries TABLE"),
        (["a dress", "--user", "4711"], "Give a sentence, or --user ID, or --queries TABLE"),
        (["a dress", "--queries", "main.shop.queries"], "--queries brings its own text"),
        (["a dress", "--more", " "], "A phrase of an edit is blank"),
        (["a dress", "--strength", "-1"], "The strength of an edit is 0 or more"),
    ],
)
def test_a_search_from_nowhere_or_from_two_places_is_refused(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    code = (
        "import sys, vlm4rec_spark.cli, vlm4rec_spark.pipeline, vlm4rec_spark.doctor; "
        "heavy = {'pyspark', 'torch', 'vllm', 'transformers', 'scann'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_stages_keep_their_figures_apart_and_the_longest_names_the_bottleneck() -> None:
    first = RunReport("a", {"rows": 1}, {"rate": 0.5}, 1.0, "disk")
    second = RunReport("b", {"rows": 2}, {}, 3.0, "model")
    both = combine("job", [first, second])
    assert both.counts == {"a.rows": 1, "b.rows": 2}
    assert (both.seconds, both.bottleneck) == (4.0, "b: model")


def test_the_stage_that_reads_rules_is_checked_before_its_job_starts() -> None:
    from vlm4rec_spark.pipeline import Checked
    from vlm4rec_spark.profiles import job as profiles_job
    from vlm4rec_spark.topk import job as topk_job

    assert isinstance(topk_job, Checked)
    assert not isinstance(profiles_job, Checked)
