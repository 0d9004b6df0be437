"""A real PostgreSQL server for tests: a folder of its own, a free port, loopback only."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.ports import free_port

PASSWORD = "wonderful-horse-7"
"""Of the test server alone; tests look for it in logs and tables, where it must not be."""


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    port: int
    log: Path
    """What the server was asked, statement by statement."""

    @property
    def jdbc_url(self) -> str:
        """Address for Spark."""
        return f"jdbc:postgresql://127.0.0.1:{self.port}/shop"

    def connect(self) -> psycopg.Connection[Any]:
        """Return a connection that commits each statement."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, dbname="shop", user="shop", password=PASSWORD,
            autocommit=True,
        )  # fmt: skip

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.connect() as connection:
            return connection.execute(query).fetchall()

    def run(self, *statements: str) -> None:
        """Run statements, each in a transaction of its own."""
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement)


def postgres_programs() -> Path | None:
    """Return the folder with initdb and postgres, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return Path(on_path).parent if on_path else None


@contextmanager
def running_postgres(programs: Path) -> Iterator[Postgres]:
    """Start a server with a database and a user `shop`; stop it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="vlm4rec-postgres-"))
    as_user = _not_root(folder)
    (folder / "password").write_text(PASSWORD + "\n", "utf-8")
    (folder / "password").chmod(0o644)
    data, port = folder / "data", free_port()
    _call(
        [*as_user, str(programs / "initdb"), "-D", str(data), "-U", "shop", "-A", "scram-sha-256",
         f"--pwfile={folder}/password", "-E", "UTF8", "--no-sync"]
    )  # fmt: skip
    settings = (
        f"-p {port} -c listen_addresses=127.0.0.1 -c fsync=off -c log_statement=all -k {folder}"
    )
    control = [*as_user, str(programs / "pg_ctl"), "-D", str(data), "-w", "-l", f"{folder}/log"]
    _call([*control, "-o", settings, "start"])
    try:
        with psycopg.connect(
            host="127.0.0.1", port=port, dbname="postgres", user="shop", password=PASSWORD,
            autocommit=True,
        ) as connection:  # fmt: skip
            connection.execute("CREATE DATABASE shop")
        yield Postgres(port, folder / "log")
    finally:
        _call([*control, "-m", "immediate", "stop"])
        shutil.rmtree(folder, ignore_errors=True)


def _not_root(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root: return what puts another user in front of a command."""
    folder.chmod(0o755)
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam("postgres")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["runuser", "-u", "postgres", "--"]


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    assert done.returncode == 0, done.stderr + done.stdout
