"""One real model server for all tests that use the demo's: on one node equal ones are shared."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlm4rec_spark.descriptions.local import LocalSpec
from vlm4rec_spark.descriptions.server import LocalServer

RENEW_S = 20.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the demo run first: it is the longest, and its job then starts the server of all."""
    items.sort(key=lambda item: "test_demo_run.py" not in item.nodeid)


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a temp folder that the test processes of one run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "servers"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def kept_server(server_folder: Path) -> Iterator[LocalSpec]:
    """Keep the server, once somebody has started it, until the tests of this process end."""
    spec = LocalSpec("demo", max_num_seqs=32, start_timeout_s=500.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(server_folder))
        server = LocalServer(spec)
    server._own()
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEW_S):
            server.touch()

    threading.Thread(target=renew, daemon=True).start()
    yield spec
    ended.set()


@pytest.fixture(scope="module")
def model_server(kept_server: LocalSpec, server_folder: Path) -> Iterator[LocalSpec]:
    """Return the demo's server, whom the jobs that a test starts find, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(server_folder))
        patch.setattr(tempfile, "tempdir", str(server_folder))
        yield kept_server
