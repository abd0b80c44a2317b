"""How programs that were written for nutcracker read its statistics port: what each of them does, in its own words.

Each reader connects, reads and takes the document apart in the way of that program, and returns what the program would
report.
"""

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from harness.connection import connect

GLOBAL = ("curr_connections", "total_connections")
POOL = ("client_eof", "client_err", "client_connections", "server_ejects", "forward_error", "fragments")
SERVER = (
    *("server_eof", "server_err", "server_timedout", "server_connections", "server_ejected_at"),
    *("requests", "request_bytes", "responses", "response_bytes"),
    *("in_queue", "in_queue_bytes", "out_queue", "out_queue_bytes"),
)


class Value(NamedTuple):
    """What a program reports: ``pool`` and ``server`` are empty for what is of the proxy or of a pool."""

    name: str
    pool: str
    server: str
    value: float


def to_the_end(port: int) -> str:
    """The document, read to the end of the stream without a request."""
    with connect("127.0.0.1", port) as connection:
        return connection.read_to_end().decode()


def one_read(port: int) -> str:
    """The document, as far as one read of 8192 bytes brings it."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        return connection.recv(8192).decode()


def datadog(port: int) -> set[Value]:
    """Datadog's agent: each object in the document is a pool, each object in a pool is a server."""
    values = set()
    for name, found in json.loads(to_the_end(port)).items():
        if name in GLOBAL:
            values.add(Value(name, "", "", found))
        elif isinstance(found, dict):
            values |= set(_of_pool(name, found))
    return values


def telegraf(port: int, pools: list[str]) -> set[Value]:
    """Telegraf's input: numbers are floating, the rest of the head has fixed names, pools are those of its settings."""
    document = json.loads(to_the_end(port), parse_int=float)
    assert isinstance(document["source"], str)
    values = set()
    for name in (*GLOBAL, "timestamp"):
        assert isinstance(document[name], float)
        values |= {Value(name, "", "", document[name])} if name in GLOBAL else set()
    for pool in pools:
        values |= set(_of_pool(pool, document[pool]))
    return values


def exporter_with_yaml(port: int) -> set[Value]:
    """The exporter of xavierholt, which reads the document as YAML."""
    values = set()
    for name, found in yaml.safe_load(to_the_end(port)).items():
        if isinstance(found, dict):
            values |= set(_of_pool(name, found))
        elif name in GLOBAL:
            values.add(Value(name, "", "", found))
    return values


def exporter_with_one_read(port: int) -> set[Value]:
    """The exporters of getupcloud and albertwidi."""
    values = set()
    for name, found in json.loads(one_read(port)).items():
        if name in ("service", "source", "version", "uptime", "timestamp"):
            continue
        values |= {Value(name, "", "", found)} if name in GLOBAL else set(_of_pool(name, found))
    return values


def exporter_with_http(port: int, path: str) -> set[Value]:
    """The exporter of quocvuong92: its HTTP client fails, and the text of the exception is the document."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Accept": "*/*", "Accept-Encoding": "gzip, deflate"})
    try:
        connection.getresponse()
    except http.client.BadStatusLine as failure:
        text = str(failure)
    else:
        raise AssertionError(f"{path} has an HTTP response")
    finally:
        connection.close()
    values = set()
    for name, found in json.loads(text).items():
        if isinstance(found, dict):
            values |= set(_of_pool(name, found))
        elif name in GLOBAL:
            values.add(Value(name, "", "", found))
    return values


def _of_pool(pool: str, found: dict[str, Any]) -> Iterator[Value]:
    for name, value in found.items():
        if isinstance(value, dict):
            assert list(value) == list(SERVER)
            yield from (Value(key, pool, name, value[key]) for key in SERVER)
        else:
            assert name in POOL, f"a program takes {name} for a server of pool {pool}"
            yield Value(name, pool, "", value)
