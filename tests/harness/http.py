"""Requests over HTTP to the statistics port of a proxy."""

import http.client
import json
from typing import Any, NamedTuple

from harness.proxy import ServedPools


class Answer(NamedTuple):
    """A response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def get(proxy: ServedPools, path: str, method: str = "GET", **headers: str) -> Answer:
    """The response to a request for this path. ``headers``: by name, with underscores for hyphens."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.stats_port, timeout=30)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def report_of(proxy: ServedPools) -> dict[str, Any]:
    """The report of a proxy."""
    answer = get(proxy, "/ui/report.json")
    assert answer.status == 200
    document = json.loads(answer.body)
    assert isinstance(document, dict)
    return document
