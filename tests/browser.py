"""A real Chromium without a window, driven over a pipe by its DevTools protocol; no package is needed for it."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
GET_IT = "no Chromium on PATH; get it with: apt-get install --no-install-recommends chromium"
_SECONDS = 60
# Chromium reads commands from descriptor 3 and writes answers to 4.
_START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)


def find_browser():
    """Return the path of a Chromium, or None."""
    return next((found for found in map(shutil.which, NAMES) if found), None)


class Browser:
    """One Chromium with one page.

    Attributes:
        requests: URLs that the page asked for since ``open``, its own file left out.
        messages: errors and warnings of its console since ``open``, and exceptions.
    """

    def __init__(self, executable):
        self._profile = tempfile.mkdtemp()
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--disable-dev-shm-usage"]
        flags += ["--no-first-run", "--disable-background-networking", f"--user-data-dir={self._profile}"]
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser, from_browser)]
        start = [sys.executable, "-I", "-S", "-c", _START, *map(str, ends), executable, *flags, "about:blank"]
        self._process = subprocess.Popen(start, pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in (to_browser, from_browser, *ends):
            os.close(end)
        self._number, self._buffer, self._session = 0, b"", None
        self.requests, self.messages = [], []
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def close(self):
        """End the process and remove its profile."""
        for descriptor in (self._out, self._in):
            os.close(descriptor)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, path, *, width=1280, height=900, dark=False):
        """Show the file ``path`` in a window of that size."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._call("Emulation.setEmulatedMedia", media="", features=scheme)
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.requests, self.messages, self._loaded = [], [], False
        url = Path(path).resolve().as_uri()
        self._call("Page.navigate", url=url)
        while not self._loaded:
            self._note(self._receive())
        self.evaluate("Promise.all([...document.images].map((image) => image.decode().catch(() => null)))")
        self.requests = [request for request in self.requests if request != url and not request.startswith("data:")]

    def evaluate(self, script):
        """Return the JSON value of a JavaScript expression; a promise is waited for."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"].get("description", "no description"))
        return found["result"].get("value")

    def screenshot(self, path, *, whole=False):
        """Write a PNG of the window, or of the whole page."""
        data = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        Path(path).write_bytes(base64.b64decode(data["data"]))

    def print_pdf(self, path):
        """Write the page as a PDF on A4."""
        found = self._call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=False)
        Path(path).write_bytes(base64.b64decode(found["data"]))

    def _attach(self):
        (page,) = [each for each in self._call("Target.getTargets")["targetInfos"] if each["type"] == "page"]
        attached = self._call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def _clip(self, whole):
        if not whole:
            return {}
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {**size, "scale": 1}}

    def _call(self, method, **parameters):
        self._number += 1
        number = self._number
        session = {} if self._session is None else {"sessionId": self._session}
        message = {"id": number, "method": method, "params": parameters, **session}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _receive(self):
        until = time.monotonic() + _SECONDS
        while b"\0" not in self._buffer:
            data = os.read(self._in, 1 << 20)
            if not data or time.monotonic() > until:
                raise RuntimeError(f"Chromium gave no answer; status {self._process.poll()}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def _note(self, event):
        parameters = event.get("params", {})
        match event.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            case "Log.entryAdded":
                self.messages.append(parameters["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.messages.append(str(parameters["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning"):
                self.messages.append(str(parameters["args"]))
