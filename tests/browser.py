"""A headless Chromium, driven through chromedriver (W3C WebDriver) with nothing but the standard library."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip


def missing() -> str | None:
    """Why no browser can be driven here, or None."""
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(lacking)} not installed (Debian: chromium, chromium-driver)" if lacking else None


class Browser:
    """One browser window. Use it in a `with` block."""

    def __init__(self, width: int = 1200, height: int = 1400) -> None:
        self.size = width, height

    def __enter__(self) -> Browser:
        port = _free_port()
        self.root = f"http://127.0.0.1:{port}"
        self.profile = tempfile.mkdtemp()
        self.driver = subprocess.Popen(["chromedriver", f"--port={port}", "--silent"], stdout=subprocess.DEVNULL)
        self._until_ready()
        size = f"--window-size={self.size[0]},{self.size[1]}"
        options = {"binary": shutil.which("chromium"), "args": [*FLAGS, size, f"--user-data-dir={self.profile}"]}
        logs = {"browser": "ALL", "performance": "ALL"}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": logs}}
        self.session = f"/session/{self._call('POST', '/session', {'capabilities': wanted})['sessionId']}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if hasattr(self, "session"):
            self._call("DELETE", self.session)
        self.driver.terminate()
        self.driver.wait(timeout=20)
        shutil.rmtree(self.profile, ignore_errors=True)

    def open(self, page: Path) -> None:
        self.go(page.resolve().as_uri())

    def go(self, address: str) -> None:
        self._call("POST", f"{self.session}/url", {"url": address})

    def script(self, body: str, *arguments: Any) -> Any:
        """What the body of a JavaScript function returns."""
        return self._call("POST", f"{self.session}/execute/sync", {"script": body, "args": list(arguments)})

    def until(self, body: str, wanted: Any, seconds: float = 5) -> bool:
        """Whether a script returns what is wanted before the time is up."""
        end = time.monotonic() + seconds
        while (found := self.script(body)) != wanted and time.monotonic() < end:
            time.sleep(0.05)
        return found == wanted

    def press(self, keys: str) -> None:
        """Type into whatever has the focus."""
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("POST", f"{self.session}/actions", {"actions": [{"type": "key", "id": "keys", "actions": steps}]})

    def color_scheme(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._chrome("Emulation.setEmulatedMedia", {"features": features})

    def viewport(self, width: int, height: int) -> None:
        """The size of a small screen; 0, 0 goes back to that of the window."""
        if not width:
            self._chrome("Emulation.clearDeviceMetricsOverride", {})
            return
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._chrome("Emulation.setDeviceMetricsOverride", size)

    def console(self) -> list[str]:
        """Errors and warnings of the page since the last call."""
        entries = self._call("POST", f"{self.session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """Addresses that the page has asked for since the last call."""
        entries = self._call("POST", f"{self.session}/se/log", {"type": "performance"})
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        shot = self._chrome("Page.captureScreenshot", {"captureBeyondViewport": whole} if whole else {})
        path.write_bytes(base64.b64decode(shot["data"]))

    def _chrome(self, command: str, parameters: dict[str, Any]) -> Any:
        return self._call("POST", f"{self.session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if method == "DELETE" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.root + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{path}: {error.read().decode()[:600]}") from None

    def _until_ready(self) -> None:
        for _ in range(200):
            try:
                with urllib.request.urlopen(f"{self.root}/status", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("chromedriver does not answer")


def luminance(color: str) -> float:
    """Relative luminance of `rgb(r, g, b)` as WCAG 2 defines it."""
    parts = [int(float(p)) / 255 for p in color[color.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
