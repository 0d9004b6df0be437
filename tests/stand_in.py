"""The local engine with a stand-in for its server: a program of the tests instead of vLLM."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tests.faults import model_server
from vlm4rec_spark.descriptions.local import LocalSpec


@dataclass(frozen=True)
class StandIn(LocalSpec):
    """A local engine whose server is a program that takes the path of its socket."""

    program: str = model_server.__file__

    def command(self, socket: Path) -> list[str]:
        """Return the command line of the stand-in."""
        return [sys.executable, self.program, str(socket)]
