"""Headless Chromium over the DevTools protocol: just enough to read, click, type and look."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

_START_SECONDS = 60.0
_PAGE_SECONDS = 30.0


def find() -> str | None:
    """Return the browser; as root, install Debian's when it is missing."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "chromium"], check=False,
                       capture_output=True, timeout=280)  # fmt: skip
        found = shutil.which("chromium")
    return found


class Tab:
    """One page. ``problems`` are the console's errors, exceptions and failed loads so far."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._number = 0
        self.problems: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message))
        while True:
            said = json.loads(self._socket.recv(timeout=_PAGE_SECONDS))
            if said.get("id") == self._number:
                assert "error" not in said, said
                return dict(said["result"])
            self._note(said)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.settle()

    def settle(self) -> None:
        """Wait until a page that is being loaded is there."""
        time.sleep(0.15)
        self.wait("document.readyState === 'complete'")

    def wait(self, condition: str) -> None:
        ends = time.monotonic() + _PAGE_SECONDS
        while True:
            with contextlib.suppress(AssertionError):  # between two pages there is none to ask
                if self.ask(condition):
                    return
            assert time.monotonic() < ends, f"never true: {condition}: {self.ask('document.title')}"
            time.sleep(0.05)

    def ask(self, expression: str) -> Any:
        said = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def click(self, selector: str) -> None:
        """Click with the mouse, where the element is."""
        at = self.ask(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left",
                      clickCount=1)  # fmt: skip

    def type(self, selector: str, text: str) -> None:
        self.ask(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)

    def shape(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)  # fmt: skip

    def dark(self) -> None:
        scheme = [{"name": "prefers-color-scheme", "value": "dark"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)

    def language(self, tag: str) -> None:
        self.call("Network.setExtraHTTPHeaders", headers={"Accept-Language": tag})

    def screenshot(self, path: Path) -> None:
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def _note(self, said: dict[str, Any]) -> None:
        what = said.get("params", {})
        match said.get("method"):
            case "Runtime.exceptionThrown":
                self.problems.append(json.dumps(what["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if what["type"] in ("error", "warning", "assert"):
                self.problems.append(json.dumps(what["args"]))
            case "Log.entryAdded" if what["entry"]["level"] in ("error", "warning"):
                self.problems.append(what["entry"]["text"] + " " + what["entry"].get("url", ""))
            case "Network.loadingFailed" if not what.get("canceled"):
                self.problems.append(what["errorText"])


@contextlib.contextmanager
def browsing(binary: str, folder: Path) -> Iterator[Tab]:
    """Start the browser with a fresh profile; end it with all of its processes."""
    flags = ["--headless=new", "--remote-debugging-port=0", f"--user-data-dir={folder}",
             "--no-first-run", "--disable-gpu", "--disable-extensions", "--mute-audio",
             "--disable-background-networking", "--hide-scrollbars", "--force-color-profile=srgb",
             "--disable-dev-shm-usage"]  # fmt: skip
    if os.geteuid() == 0:
        flags.append("--no-sandbox")
    log = folder.with_suffix(".log")
    with (
        log.open("wb") as output,
        subprocess.Popen([binary, *flags, "about:blank"], stdout=output, stderr=output) as process,
    ):
        try:
            port = _port(log, process)
            with connect(_page(port), max_size=None) as socket:
                yield Tab(socket)
        finally:
            process.terminate()
            process.wait(20)


def _port(log: Path, process: subprocess.Popen[bytes]) -> int:
    ends = time.monotonic() + _START_SECONDS
    while time.monotonic() < ends:
        found = re.search(
            r"DevTools listening on ws://[^:]+:(\d+)/", log.read_text("utf-8", "replace")
        )
        if found is not None:
            return int(found[1])
        assert process.poll() is None, log.read_text("utf-8", "replace")
        time.sleep(0.05)
    raise AssertionError(log.read_text("utf-8", "replace"))


def _page(port: int) -> str:
    import httpx

    pages = httpx.get(f"http://127.0.0.1:{port}/json/list", timeout=20).json()
    return next(str(page["webSocketDebuggerUrl"]) for page in pages if page["type"] == "page")
