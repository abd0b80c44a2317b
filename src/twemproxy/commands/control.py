"""Requests of sub-commands to a running proxy, over its control socket."""

import argparse
import socket
from typing import Any, Final, TypeVar

import msgspec

from twemproxy.commands.frame import CommandError
from twemproxy.config.files import PLACES
from twemproxy.ipc.control import (
    Answer,
    Describe,
    Inspect,
    Inspections,
    Refused,
    Report,
    ReportRequest,
    Request,
    Served,
    answer_decoder,
    encode,
)
from twemproxy.ipc.messages import Inspection

Wanted = TypeVar("Wanted", bound=Answer)

ANSWER_TIME: Final = 60.0
"""Seconds that the proxy has for an answer."""


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the running proxy."""
    parser.add_argument(
        "-C",
        "--control-socket",
        metavar="PATH",
        default=PLACES.control,
        help=f"control socket of the proxy (default: {PLACES.control})",
    )


def ask(path: str, request: Request) -> Answer:
    """Return the answer of the proxy with this control socket. Raises CommandError, also if the answer is Refused."""
    received = b""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_TIME)
            connection.connect(path)
            connection.sendall(encode(request))
            while not received.endswith(b"\n") and (data := connection.recv(1 << 16)):
                received += data
    except TimeoutError as error:
        raise CommandError(f"the proxy at '{path}' has not answered within {ANSWER_TIME:.0f} s") from error
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise CommandError(f"no proxy answers at '{path}': {reason}; --control-socket names another one") from error
    if not received:
        raise CommandError(f"the proxy at '{path}' has stopped, or begun to upgrade, before it answered: see its log")
    try:
        answer = answer_decoder.decode(received)
    except msgspec.DecodeError as error:
        raise CommandError(f"the answer of the proxy at '{path}' cannot be read: it has another version") from error
    if isinstance(answer, Refused):
        raise CommandError("\n".join(answer.reasons))
    return answer


def ask_for(path: str, request: Request, wanted: type[Wanted]) -> Wanted:
    """As ``ask``, for an answer of this class. Raises CommandError, also for another answer."""
    answer = ask(path, request)
    if not isinstance(answer, wanted):
        raise CommandError(f"the proxy at '{path}' gives another answer: it has another version")
    return answer


def report(path: str) -> dict[str, Any]:
    """Return the report of the proxy, see docs/statistics.md. Raises CommandError."""
    found: dict[str, Any] = msgspec.json.decode(ask_for(path, ReportRequest(), Report).report)
    return found


def inspections(path: str, pool: str) -> tuple[Inspection, ...]:
    """Return what the workers of the proxy know of its pools, or of the one with this name. Raises CommandError."""
    return ask_for(path, Inspect(pool), Inspections).pools


def describe(path: str) -> Served:
    """Return what the proxy with this control socket serves. Raises CommandError."""
    return ask_for(path, Describe(), Served)
