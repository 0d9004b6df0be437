"""A headless Chromium, driven over its debugging pipe; for tests of the reports."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PHONE, DESKTOP = (390, 844), (1280, 900)


@dataclass
class Browser:
    """One page of a running browser; `problems` collects console errors and exceptions."""

    reading: int
    writing: int
    session: str = ""
    problems: list[str] = field(default_factory=list)
    _number: int = 0
    _buffer: bytes = b""

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command of the DevTools protocol and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                found: dict[str, Any] = answer["result"]
                return found

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self.reading, 1 << 20)
            if not part:
                raise RuntimeError("the browser has gone")
            self._buffer += part
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(str(params["exceptionDetails"]["text"]))
        elif message.get("method") == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.problems.append(str(params["args"]))
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(params["entry"]["text"])

    def open(self, path: Path, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> None:
        """Show a file in a window of this size (CSS pixels), 'light' or 'dark'."""
        width, height = size
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=1, mobile=size == PHONE,
        )  # fmt: skip
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=media)
        self.call("Page.navigate", url=path.absolute().as_uri())
        while self.ask("document.readyState") != "complete":
            pass

    def ask(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Press one key, as a person at the keyboard."""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def screenshot(self, path: Path) -> bytes:
        """Write what is visible as a PNG."""
        raw = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        path.write_bytes(raw)
        return raw


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start Chromium with a profile of its own and no network, and stop it afterwards."""
    to_child, from_us = os.pipe()
    to_us, from_child = os.pipe()
    # Chromium reads commands from descriptor 3 and answers on 4.
    command = f'exec "$0" "$@" 3<&{to_child} 4>&{from_child}'
    arguments = [
        "/bin/bash", "-c", command, str(CHROMIUM), "--headless=new", "--no-sandbox",
        "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe",
        "--proxy-server=127.0.0.1:9", f"--user-data-dir={profile}", "about:blank",
    ]  # fmt: skip
    process = subprocess.Popen(
        arguments, pass_fds=(to_child, from_child),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(to_child)
    os.close(from_child)
    page = Browser(to_us, from_us)
    try:
        targets = page.call("Target.getTargets")["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        page.session = page.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log"):
            page.call(f"{domain}.enable")
        yield page
    finally:
        process.terminate()
        process.wait(timeout=20)
        os.close(from_us)
        os.close(to_us)
