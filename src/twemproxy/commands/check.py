"""``nutcracker check``: all errors of a configuration file, and warnings about settings that operators regret."""

import argparse
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec

from twemproxy.commands.frame import ERROR_STATUS, CommandError, print_json
from twemproxy.config.loading import ConfigError, Problem, load
from twemproxy.config.options import MOST_WORKERS, worker_count
from twemproxy.config.pools import Address, Config
from twemproxy.config.quoting import quoted, quoted_if_needed
from twemproxy.config.warnings import ConfigWarning, notes, warnings, where_access_log_goes

DESCRIPTION = """\
Check a configuration file: all errors, each with its line and column, and warnings about settings that are valid and
that operators regret. The file is not used otherwise, and a running proxy does not notice.
"""

_LONGEST_CONNECT: Final = 5.0
"""Seconds. The limit for a connection to a server whose pool has no shorter timeout."""
_AT_A_TIME: Final = 64


class Unreachable(msgspec.Struct, frozen=True):
    """A server to which no connection can be opened."""

    pool: str
    server: str
    """The name of the server."""
    address: str
    reason: str

    def __str__(self) -> str:
        server = f"server {quoted(self.server)} at {quoted_if_needed(self.address)}"
        return f"pool {quoted(self.pool)}: {server} cannot be reached: {self.reason}"


class Findings(msgspec.Struct, frozen=True):
    """What is wrong with a file."""

    errors: tuple[Problem, ...] = ()
    """In the order of the file. With errors there is nothing else."""
    warnings: tuple[ConfigWarning, ...] = ()
    unreachable: tuple[Unreachable, ...] = ()
    notes: tuple[str, ...] = ()
    """What is not wrong, and should be known."""

    @property
    def status(self) -> int:
        """The exit status."""
        if self.errors or self.unreachable:
            return ERROR_STATUS
        return 2 if self.warnings else 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the configuration file")
    parser.add_argument(
        "-w",
        "--workers",
        metavar="N",
        default="1",
        help="how many workers will serve it (default: %(default)s)",
    )
    parser.add_argument("--connect", action="store_true", help="also open a connection to every server")


def run(options: argparse.Namespace) -> int:
    workers = worker_count(options.workers)
    if not workers:
        raise CommandError(f"'{options.workers}' is not a number from 1 to {MOST_WORKERS}")
    lines: list[str] = []
    try:
        config = load(options.file, workers=workers)
    except ConfigError as error:
        findings = Findings(errors=error.problems)
        lines += error.lines()
    else:
        unreachable = tuple(_unreachable(config)) if options.connect else ()
        known = notes(config, where_access_log_goes(None, daemonize=False))
        findings = Findings((), tuple(warnings(config)), unreachable, tuple(known))
        lines += (f"{options.file}: error: {server}" for server in findings.unreachable)
        lines += (f"{options.file}: warning: {warning}" for warning in findings.warnings)
    if options.json:
        print_json(_document(options.file, findings))
    else:
        lines = lines or [f"{options.file}: nothing is wrong"]
        print("\n".join([*lines, *(f"{options.file}: note: {note}" for note in findings.notes)]))
    return findings.status


def _document(file: str, findings: Findings) -> dict[str, Any]:
    return {
        "file": file,
        "errors": [problem._asdict() for problem in findings.errors],
        "warnings": msgspec.to_builtins(findings.warnings),
        "unreachable": msgspec.to_builtins(findings.unreachable),
        "notes": list(findings.notes),
    }


def _unreachable(config: Config) -> Iterator[Unreachable]:
    """Yield the servers to which no connection can be opened. An address of several servers is tried once."""
    limits: dict[Address, float] = {}
    for pool in config.pools:
        milliseconds = pool.connect_timeout or pool.timeout
        limit = min(milliseconds / 1000, _LONGEST_CONNECT) if milliseconds else _LONGEST_CONNECT
        for server in pool.servers:
            limits[server.address] = max(limit, limits.get(server.address, 0))
    with ThreadPoolExecutor(_AT_A_TIME) as threads:
        reasons = dict(zip(limits, threads.map(_try, limits, limits.values()), strict=True))
    for pool in config.pools:
        for server in pool.servers:
            if reason := reasons[server.address]:
                yield Unreachable(pool.name, server.name, server.pname.rpartition(":")[0], reason)


def _try(address: Address, limit: float) -> str:
    """Open and close a connection; returns the reason if that fails, otherwise an empty text."""
    try:
        if address.path:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(limit)
                connection.connect(address.path)
        else:
            # As bytes, the name bypasses Python's IDNA codec, which refuses names that the resolver may accept.
            host: Any = address.host.encode()
            socket.create_connection((host, address.port), limit).close()
    except OSError as error:
        return "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
    return ""
