"""The Spark and Delta tests on other releases of Spark, each in an environment of its own.

    make test-matrix RELEASES="4.0.1:4.0.0 4.1.1:4.3.1"

A release is pyspark:delta-spark. Needs the package registries, takes some minutes a release, and is
no part of `make test`, which runs on the release of the lock.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "matrix"
LOCK = ROOT / "requirements" / "lock.txt"
TESTS = ("tests/delta", "tests/spark")


def main() -> int:
    """Run the tests on each release; return 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("releases", nargs="+", metavar="PYSPARK:DELTA")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="files or folders of tests")
    options = parser.parse_args()
    results = {}
    for release in options.releases:
        python = _environment(*release.split(":"))
        # In one process: two would fetch the jars of the release at once, and Ivy minds.
        run = [python, "-m", "pytest", "-q", *options.tests]
        results[release] = subprocess.run(run, cwd=ROOT, check=False).returncode
    for release, code in results.items():
        sys.stdout.write(f"{release:16} {'passed' if code == 0 else 'FAILED'}\n")
    return int(any(results.values()))


def _environment(spark: str, delta: str) -> str:
    """Make the locked environment with another Spark in it; return its Python."""
    folder = FOLDER / f"spark-{spark}"
    python = str(folder / "bin" / "python")
    uv = str(Path(sys.executable).parent / "uv")
    install = [uv, "pip", "install", "--quiet", "--python", python]
    own = [f"pyspark[connect]=={spark}", f"delta-spark=={delta}"]
    subprocess.run([uv, "venv", "--clear", "-p", sys.executable, folder], cwd=ROOT, check=True)
    subprocess.run([*install, "--no-deps", "--require-hashes", "-r", LOCK], cwd=ROOT, check=True)
    # With what they need: an older Spark wants an older py4j.
    subprocess.run([*install, *own], cwd=ROOT, check=True)
    subprocess.run([*install, "--no-deps", "-e", ROOT], cwd=ROOT, check=True)
    return python


if __name__ == "__main__":
    sys.exit(main())
