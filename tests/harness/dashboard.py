"""The dashboard with reports that a test makes, on a port of its own."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from twemproxy.ui import CONTENT_SECURITY_POLICY, FILES, read


class Dashboard:
    """What a test does with the page's server: ``url`` is the page; ``document`` is the report that it gets."""

    def __init__(self, server: ThreadingHTTPServer, document: dict[str, Any]) -> None:
        self.url = f"http://127.0.0.1:{server.server_address[1]}/ui"
        self.document: dict[str, Any] | None = document
        """None: requests for the report fail."""


@contextmanager
def dashboard(document: dict[str, Any]) -> Iterator[Dashboard]:
    """Serve the page with this report until the context ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path in FILES:
                name, content_type = FILES[path]
                self._answer(200, content_type, read(name))
            elif path == "/ui/report.json" and served.document is not None:
                self._answer(200, "application/json", json.dumps(served.document).encode())
            else:
                self._answer(503, "text/plain", b"")

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.send_header("content-security-policy", CONTENT_SECURITY_POLICY)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Log nothing: it would be among the output of the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Dashboard(server, document)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
