"""A browser without a window, for tests of the dashboard: Chromium, controlled over a pipe by its DevTools protocol."""

import base64
import json
import os
import select
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from harness.servers import installed
from twemproxy.demo.processes import Process

_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-dev-shm-usage",
    "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
_SECONDS = 60.0
"""For an answer, and for what a test waits for."""


class BrowserError(Exception):
    """The browser does not do what it is asked, or the page has an error."""


class Browser:
    """A running browser, which is stopped at the end of its context."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="chromium-"))
        to_browser, from_browser = self._folder / "to", self._folder / "from"
        for path in (to_browser, from_browser):
            os.mkfifo(path)
        # The protocol has fixed descriptors: the browser reads 3 and writes 4.
        redirected = 'exec 3<"$1" 4>"$2"; shift 2; exec "$@"'
        options = (*_OPTIONS, f"--user-data-dir={self._folder / 'profile'}", "about:blank")
        command = ["bash", "-c", redirected, "bash", str(to_browser), str(from_browser), installed("chromium")]
        # Opened in both directions, so that neither side waits for the other one.
        self._to, self._from = os.open(to_browser, os.O_RDWR), os.open(from_browser, os.O_RDWR)
        self._process = Process([*command, *options], self._folder / "chromium.log")
        self._received = b""
        self._number = 0
        self._events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._process.stop()
        finally:
            os.close(self._to)
            os.close(self._from)
            shutil.rmtree(self._folder, ignore_errors=True)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Return the result of a method of the protocol. Raises BrowserError."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + _SECONDS
        while True:
            answer = self._receive(end)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                return answer["result"]
            self._events.append(answer)

    def take_events(self, session: str) -> list[dict[str, Any]]:
        """Return what the browser has said of a page since the last call, and forget it."""
        taken = [event for event in self._events if event.get("sessionId") == session]
        self._events = [event for event in self._events if event.get("sessionId") != session]
        return taken

    def _receive(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._received:
            if not select.select([self._from], [], [], 1)[0]:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise BrowserError(f"the browser gives no answer: {self._process.output()[-2000:]}")
                continue
            data = os.read(self._from, 1 << 20)
            self._received += data
        message, _, self._received = self._received.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded

    @contextmanager
    def page(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> Iterator["Page"]:
        """Open a page, in a profile of its own; close it at the end of the context.

        Raises BrowserError if the page has had an error, as a script that fails or content that its policy forbids.
        """
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        try:
            for domain in ("Page", "Runtime", "Log", "Network"):
                page.call(f"{domain}.enable")
            page.resize(width, height)
            page.prefer("dark" if dark else "light")
            page.load(url)
            yield page
            errors = page.errors()
            if errors:
                raise BrowserError(f"errors of the page: {errors}")
        finally:
            self.call("Target.closeTarget", targetId=target)
            self.call("Target.disposeBrowserContext", browserContextId=context)


class Page:
    """An open page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.expects_network_errors = False
        """Whether requests of the page may fail."""
        self.requested: list[str] = []
        """The addresses of all requests so far, after ``errors``."""
        self._answered: list[tuple[str, str]] = []
        self._addresses: dict[str, str] = {}

    def call(self, method: str, **parameters: Any) -> Any:
        return self._browser.call(method, self._session, **parameters)

    def load(self, url: str) -> None:
        """Open an address, also the same one again, and wait until it is loaded."""
        self.run("window.isOld = true")
        self.call("Page.navigate", url=url)
        end = time.monotonic() + _SECONDS
        while True:
            try:
                if self.run("window.isOld === undefined && document.readyState === 'complete'"):
                    return
            except BrowserError:  # between two documents
                pass
            if time.monotonic() > end:
                raise BrowserError(f"it is not loaded: {url}")
            time.sleep(0.01)

    def resize(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 700
        )

    def prefer(self, colours: str) -> None:
        """Have the system prefer ``light`` or ``dark`` colours."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": colours}])

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page, also of a promise. Raises BrowserError if it throws."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise BrowserError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression in the page is true. Raises BrowserError if it does not become so."""
        end = time.monotonic() + _SECONDS
        promise = (
            "new Promise((done) => { const limit = performance.now() + 5000; const look = () => { let is; "
            f"try {{ is = ({condition}); }} catch {{ is = false; }} "
            "if (is) done(true); else if (performance.now() > limit) done(false); else setTimeout(look, 20); }; "
            "look(); })"
        )
        while not self.run(promise):
            if time.monotonic() > end:
                raise BrowserError(f"it does not become true: {condition}\n{self.run('document.body?.innerText')}")

    def text(self, selector: str) -> str:
        """The visible text of an element."""
        text: str = self.run(f"document.querySelector({json.dumps(selector)}).innerText")
        return text

    def texts(self, selector: str) -> list[str]:
        """The visible texts of all elements that match."""
        texts: list[str] = self.run(
            f"[...document.querySelectorAll({json.dumps(selector)})].map((each) => each.innerText)"
        )
        return texts

    def click(self, selector: str) -> None:
        """Click the middle of an element, as a user does."""
        place = self.run(
            f"(() => {{ const it = document.querySelector({json.dumps(selector)}); "
            "it.scrollIntoView({ block: 'center' }); const { x, y, width, height } = it.getBoundingClientRect(); "
            "return [x + width / 2, y + height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key that is no character, as ``ArrowLeft`` or ``Tab``."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "End": 35, "Home": 36}
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            more = text if kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key], **more)

    def type(self, text: str) -> None:
        """Type a text into what has the focus."""
        self.call("Input.insertText", text=text)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write a picture of the page, as PNG; ``whole``: also of what is below."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def answers(self, path: str) -> list[str]:
        """What the page has got from addresses that end with this, oldest first."""
        found = self.errors()
        if found:
            raise BrowserError(f"errors of the page: {found}")
        numbers = [number for address, number in self._answered if address.endswith(path)]
        return [self.call("Network.getResponseBody", requestId=number)["body"] for number in numbers]

    def errors(self) -> list[str]:
        """Return the errors of the page since the last call."""
        self.run("0")  # what the page has said before is received now
        found = []
        for event in self._browser.take_events(self._session):
            parameters = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(parameters["exceptionDetails"]))
            elif event["method"] == "Network.requestWillBeSent":
                self.requested.append(parameters["request"]["url"])
                self._addresses[parameters["requestId"]] = parameters["request"]["url"]
            elif event["method"] == "Network.loadingFinished":
                number = parameters["requestId"]
                self._answered.append((self._addresses.get(number, ""), number))
            elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                entry = parameters["entry"]
                if not (self.expects_network_errors and entry["source"] == "network"):
                    found.append(str(entry))
        return found
