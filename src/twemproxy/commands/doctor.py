"""``nutcracker doctor``: what becomes different when this proxy takes the place of nutcracker 0.5.0."""

import argparse
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from twemproxy.commands import fleet
from twemproxy.commands.frame import ERROR_STATUS, CommandError, print_json
from twemproxy.commands.switching import DIFFERENCES
from twemproxy.commands.versions import ServerVersion, lacking, versions
from twemproxy.config.files import NoConfiguration, complete
from twemproxy.config.loading import ConfigError, load
from twemproxy.config.pools import Config
from twemproxy.config.quoting import quoted, quoted_if_needed
from twemproxy.config.warnings import warnings

DESCRIPTION = """\
For a nutcracker 0.5.0 that is to be replaced by this proxy: what becomes different with its configuration file, which
settings operators regret, whether the servers answer and which versions they run, and with --original what the
statistics of the running nutcracker say. Every key keeps its server in any case. Nothing is changed.
"""

LONG_QUEUE: Final = 1000
"""Requests in a queue of a server of nutcracker that are worth a line."""


class Finding(msgspec.Struct, frozen=True):
    """One line of the result."""

    kind: str
    """``error``; ``data``: clients may miss data; ``warning``: a setting that operators regret; ``original``: trouble
    that the running nutcracker has; ``note``: good to know."""
    pool: str
    """Empty if it is about no single pool."""
    message: str

    def __str__(self) -> str:
        where = f"pool {quoted(self.pool)}: " if self.pool else ""
        return f"{self.kind}: {where}{self.message}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", help="the configuration file (default: as for a start)")
    parser.add_argument("--original", metavar="HOST:PORT", help="the statistics port of the running nutcracker")


def run(options: argparse.Namespace) -> int:
    try:
        file: str = options.file or complete({})["conf_file"]
    except NoConfiguration as error:
        raise CommandError(str(error)) from error
    findings: list[Finding] = []
    servers: list[ServerVersion] = []
    try:
        config = load(file)
    except ConfigError as error:
        findings += (Finding("error", "", line) for line in error.lines())
    else:
        findings += _differences(config)
        findings += (Finding("warning", warning.pool, warning.message) for warning in warnings(config))
        servers = versions(config)
        findings += _servers(config, servers)
        if options.original is not None:
            findings += _original(config, options.original)
    if options.json:
        print_json({"file": file, "findings": msgspec.to_builtins(findings), "servers": msgspec.to_builtins(servers)})
    else:
        print("\n".join(map(str, findings)))
    kinds = {finding.kind for finding in findings}
    return ERROR_STATUS if "error" in kinds else 2 if kinds - {"note"} else 0


def _differences(config: Config) -> Iterator[Finding]:
    for pool in config.pools:
        for difference in DIFFERENCES:
            if difference.applies(pool):
                fields = {field: getattr(pool, field) for field in pool.__struct_fields__ if field != "redis_auth"}
                yield Finding(difference.kind, pool.name, difference.text.format_map(fields))


def _servers(config: Config, found: list[ServerVersion]) -> Iterator[Finding]:
    for pool in config.pools:
        own = [server for server in found if server.pool == pool.name]
        for server in own:
            if server.error:
                where = f"server {quoted(server.server)} at {quoted_if_needed(server.address)}"
                yield Finding("error", pool.name, f"{where} gives no version: {server.error}")
        answered: dict[str, int] = {}
        for server in own:
            if server.version:
                answered[server.version] = answered.get(server.version, 0) + 1
        if answered:
            text = ", ".join(f"{count} with {version}" for version, count in answered.items())
            yield Finding("note", pool.name, f"servers that answer: {text}")
        yield from (Finding("warning", pool.name, line) for line in lacking(own))


def _original(config: Config, address: str) -> Iterator[Finding]:
    """Yield what the statistics of the running nutcracker say."""
    if len(fleet.parse_addresses(address, "--original")) != 1:
        raise CommandError("--original needs one address")
    try:
        document: Any = msgspec.json.decode(fleet.read_document(address, b""))
    except (OSError, msgspec.DecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        yield Finding("error", "", f"the statistics at {quoted_if_needed(address)} cannot be read: {reason}")
        return
    if not isinstance(document, dict) or document.get("service") != "nutcracker":
        yield Finding("error", "", f"{quoted_if_needed(address)} does not reply with the statistics of nutcracker")
        return
    hours = int(document.get("uptime", 0)) / 3600
    connections = document.get("curr_connections", "?")
    version = f"nutcracker {document.get('version', '')}"
    yield Finding("note", "", f"the original is {version}, up for {hours:.1f} hours, with {connections} connections")
    pools = {name: value for name, value in document.items() if isinstance(value, dict)}
    for pool in config.pools:
        if pool.name not in pools:
            yield Finding("original", pool.name, "the original does not have it: it runs with another file")
            continue
        names = [name for name, value in pools[pool.name].items() if isinstance(value, dict)]
        own = [server.name for server in pool.servers]
        if sorted(names) != sorted(own):
            servers = ", ".join(map(quoted, names))
            yield Finding("original", pool.name, f"the original has other servers, so keys move: {servers}")
        yield from (Finding(kind, pool.name, text) for kind, text in _figures(pools[pool.name], pool.redis))
    for name in pools.keys() - {pool.name for pool in config.pools}:
        yield Finding("original", name, "only the original has it: it runs with another file")


def _figures(pool: dict[str, Any], redis: bool) -> Iterator[tuple[str, str]]:
    """Yield kinds and texts about the figures of a pool of nutcracker."""

    def figure(part: dict[str, Any], name: str) -> int:
        value = part.get(name, 0)
        return value if isinstance(value, int) else 0

    servers = {name: part for name, part in pool.items() if isinstance(part, dict)}
    requests = sum(figure(part, "requests") for part in servers.values())
    replies = sum(figure(part, "responses") for part in servers.values())
    size = sum(figure(part, "request_bytes") for part in servers.values()) // max(requests, 1)
    clients = figure(pool, "client_connections")
    yield "note", f"the original has {clients} clients, and has sent {requests} requests of {size} bytes on average"
    if errors := figure(pool, "client_err"):
        refused = "commands that nutcracker does not know" if redis else "lines that nutcracker does not know"
        yield "note", f"{errors} errors of clients: probably {refused}; here they get an error, or work"
    if not redis and requests - replies > requests // 100 + LONG_QUEUE:
        yield "note", f"{requests - replies} requests had no reply: clients probably use noreply"
    if errors := figure(pool, "forward_error"):
        yield "original", f"{errors} requests could not be forwarded"
    if ejections := figure(pool, "server_ejects"):
        yield "original", f"{ejections} ejections of servers"
    for name, part in servers.items():
        troubles = {
            "failed connections": figure(part, "server_err"),
            "connections that timed out": figure(part, "server_timedout"),
        }
        queued = figure(part, "in_queue") + figure(part, "out_queue")
        if queued > LONG_QUEUE:
            troubles["requests in its queues"] = queued
        text = ", ".join(f"{count} {what}" for what, count in troubles.items() if count)
        if text:
            yield "original", f"server {quoted(name)}: {text}"
