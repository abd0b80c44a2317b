"""Blocking commands that are asked again at another server, with the time that is left of their timeout.

Plain Python.
"""

import re

from twemproxy.protocol.redis.inline import decode_request, encode_request

LEAST_SECONDS = 0.001
"""A timeout that is over: 0 would be no timeout."""

_SECONDS = re.compile(rb"\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_MILLISECONDS = re.compile(rb"[0-9]{1,18}")


BLOCK = 0
"""In TIMEOUTS: the timeout is in milliseconds, after the option BLOCK."""

TIMEOUTS = {
    **dict.fromkeys(("blpop", "brpop", "brpoplpush", "blmove", "bzpopmin", "bzpopmax"), -1),
    **dict.fromkeys(("blmpop", "bzmpop"), 1),
    "blmovem": 5,
    **dict.fromkeys(("xread", "xreadgroup"), BLOCK),
}
"""Where the commands that may wait for keys have their timeout in seconds: an index of the arguments with the name."""


def after_waiting(name: str, request: bytes, waited: int) -> bytes:
    """The request of a command of TIMEOUTS with the rest of its timeout after ``waited`` microseconds.

    Without a timeout it stays as it is.
    """
    place = TIMEOUTS[name]
    arguments = decode_request(request)
    if place == BLOCK:
        for at in _values_of_block(arguments):
            arguments[at] = _rest_of_milliseconds(arguments[at], waited)
    elif place < len(arguments):
        arguments[place] = _rest_of_seconds(arguments[place], waited)
    return encode_request(arguments)


def _values_of_block(arguments: list[bytes]) -> list[int]:
    """The indices of the values of BLOCK among the options of XREAD or XREADGROUP."""
    found = []
    at = 1
    while at + 1 < len(arguments) and arguments[at].upper() != b"STREAMS":
        match arguments[at].upper():
            case b"BLOCK":
                found.append(at + 1)
                at += 2
            case b"COUNT":
                at += 2
            case b"GROUP":
                at += 3
            case _:
                at += 1
    return found


def _rest_of_seconds(timeout: bytes, waited: int) -> bytes:
    if not _SECONDS.fullmatch(timeout) or not float(timeout):
        return timeout
    return b"%.3f" % max(float(timeout) - waited / 1_000_000, LEAST_SECONDS)


def _rest_of_milliseconds(timeout: bytes, waited: int) -> bytes:
    if not _MILLISECONDS.fullmatch(timeout) or not int(timeout):
        return timeout
    return b"%d" % max(int(timeout) - waited // 1000, 1)
