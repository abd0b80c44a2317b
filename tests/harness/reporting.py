"""A control socket that answers with reports that the test makes."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from twemproxy.ipc.control import Report, encode


class ReportingSocket:
    """``report`` is what the next question gets."""

    def __init__(self, report: dict[str, Any]) -> None:
        self.report: dict[str, Any] | None = report
        """None: no answer, and the end of the connection."""


@contextmanager
def reporting(path: Path, report: dict[str, Any]) -> Iterator[ReportingSocket]:
    """Answer questions for the report at this path until the context ends."""
    answering = ReportingSocket(report)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            if answering.report is not None:
                self.wfile.write(encode(Report(msgspec.Raw(msgspec.json.encode(answering.report)))))

    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield answering
        finally:
            server.shutdown()
            thread.join()
