"""A headless Chromium, spoken to over a pipe in its DevTools protocol: nothing to install beside the browser itself."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"]
ENTER = {"windowsVirtualKeyCode": 13, "text": "\r"}


class Browser:
    """One tab. `with Browser() as tab: tab.open(path)`. complaints: whatever its console was told, and every request that it
    made beside the page itself."""

    def __init__(self, width: int = 1280, height: int = 900) -> None:
        assert CHROMIUM, "no Chromium on this machine"
        self.profile = tempfile.mkdtemp()
        to_browser, from_browser = os.pipe(), os.pipe()
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={self.profile}", "--remote-debugging-pipe", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}', "bash", *command],
            pass_fds=[to_browser[0], from_browser[1]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser[0])
        os.close(from_browser[1])
        self.out, self.into, self.left, self.number = to_browser[1], from_browser[0], b"", 0
        self.complaints: list[str] = []
        self.session: str | None = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: Any) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.into)
        shutil.rmtree(self.profile, ignore_errors=True)

    # --- the protocol ---

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The browser's answer to one command."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer["error"]
                return answer["result"]  # type: ignore[no-any-return]
            self._hear(answer)

    def _read(self, patience: float = 120) -> dict[str, Any]:
        while b"\0" not in self.left:
            ready, _, _ = select.select([self.into], [], [], patience)
            assert ready, "Chromium does not answer"
            self.left += os.read(self.into, 2**20)
        message, _, self.left = self.left.partition(b"\0")
        return json.loads(message)  # type: ignore[no-any-return]

    def _hear(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.complaints.append(str(details.get("exception", {}).get("description", details["text"])))
            case "Runtime.consoleAPICalled":
                self.complaints.append(f"{params['type']}: {[a.get('value', a.get('description')) for a in params['args']]}")
            case "Log.entryAdded":
                self.complaints.append(f"{params['entry']['level']}: {params['entry']['text']}")
            case "Network.requestWillBeSent" if not params["request"]["url"].startswith(("file:", "data:", "about:", "blob:")):
                self.complaints.append(f"asked for {params['request']['url']}")

    # --- what a person does ---

    def open(self, path: Path) -> float:
        """Loads a page and waits until it says that it is ready; seconds."""
        started = time.monotonic()
        self.ask("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.documentElement?.dataset.ready")
        return time.monotonic() - started

    def js(self, expression: str) -> Any:
        """The value of an expression, awaited."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, expression: str, patience: float = 120) -> float:
        """Seconds until an expression holds."""
        started = time.monotonic()
        while not self.js(f"Boolean({expression})"):
            assert time.monotonic() - started < patience, f"{expression} does not come true: {self.complaints}"
            time.sleep(0.01)
        return time.monotonic() - started

    def press(self, key: str, **more: Any) -> None:
        """A key, down and up. more: of the protocol, as `ENTER` has it."""
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, **{"key": key, "code": key, **more})

    def click(self, selector: str) -> None:
        """The mouse's left button, in the middle of an element."""
        find = f"document.querySelector({json.dumps(selector)})"
        self.js(f"{find}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = self.js(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({find}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def resize(self, width: int, height: int) -> None:
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefers(self, scheme: str) -> None:
        """`dark` or `light`, as the system would say it."""
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def shot(self, path: Path, whole: bool = True) -> None:
        """A picture of the page as PNG."""
        path.write_bytes(b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=whole)["data"]))

    def pdf(self, path: Path) -> None:
        path.write_bytes(b64decode(self.ask("Page.printToPDF", printBackground=False)["data"]))
