"""Databricks' Files API on loopback over a local folder, as far as reading goes.

Paths, headers, answers and paging are those of docs.databricks.com/api (Files: list directory
contents, download); two entries a page, so that a reader has to turn it.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from tests.loopback import Answering, Loopback

TOKEN = "token-for-tests"
PAGE = 2
FILES, FOLDERS = "/api/2.0/fs/files", "/api/2.0/fs/directories"


class FilesApi(Loopback):
    """Serves a folder as a volume to whoever brings the token."""

    def __init__(self, root: Path, volume: str) -> None:
        super().__init__(_Handler)
        self.root, self.volume = root, volume
        self.asked: list[str] = []

    def answer(self, path: str, page: int) -> tuple[int, bytes | dict[str, object]]:
        for prefix in (FILES, FOLDERS):
            inside = self.root / path.removeprefix(f"{prefix}{self.volume}/")
            if not path.startswith(f"{prefix}{self.volume}/"):
                continue
            if prefix == FILES and inside.is_file():
                return 200, inside.read_bytes()
            if prefix == FOLDERS and inside.is_dir():
                return 200, self._listed(sorted(inside.iterdir()), page)
        return 404, {"error_code": "NOT_FOUND", "message": "There is nothing of this name."}

    def _listed(self, entries: list[Path], start: int) -> dict[str, object]:
        rows = [
            {
                "path": f"{self.volume}/{entry.relative_to(self.root)}",
                "name": entry.name,
                "is_directory": entry.is_dir(),
            }
            for entry in entries[start : start + PAGE]
        ]
        more = start + PAGE < len(entries)
        return {"contents": rows, **({"next_page_token": str(start + PAGE)} if more else {})}


class _Handler(Answering):
    server: FilesApi

    def answer(self) -> None:
        address = urlsplit(self.path)
        path = unquote(address.path)
        self.server.asked.append(path)
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            page = int(parse_qs(address.query).get("page_token", ["0"])[0])
            status, told = self.server.answer(path, page)
        else:
            status, told = 401, {"error_code": "UNAUTHENTICATED", "message": "Who are you?"}
        body = told if isinstance(told, bytes) else json.dumps(told).encode()
        kind = "application/octet-stream" if isinstance(told, bytes) else "application/json"
        self.reply(status, body, **{"Content-Type": kind})
