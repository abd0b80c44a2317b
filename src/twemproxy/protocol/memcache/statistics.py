"""Statistics of several servers, merged into one, or listed server by server.

Plain Python. A line of statistics is ``STAT name value``, as in memcached's doc/protocol.txt.
"""

import re
from collections.abc import Generator, Iterable, Sequence
from typing import Any

from twemproxy.protocol import figures

_END = b"END\r\n"
_PREFIXED = (b"STAT ", b"ITEM ", b"PREFIX ")
_FAILED = b"SERVER_ERROR "

RULES = {
    "": figures.Rules(
        [
            ("uptime|accepting_conns", figures.smallest),
            ("version", figures.oldest),
            ("time|hash_power_level|hash_is_expanding|.*_running", figures.largest),
            ("libevent|pointer_size", figures.same),
        ]
    ),
    "items": figures.Rules([("items:[0-9]+:(age.*|evicted_time)", figures.largest)]),
    "slabs": figures.Rules([("[0-9]+:(chunk_size|chunks_per_page)|active_slabs", figures.largest)]),
    "sizes": figures.Rules([("sizes_.*", figures.same)]),
    "settings": figures.Rules([("maxbytes|maxconns|num_threads", figures.total)], otherwise=figures.same),
}
"""The rules for merging statistics, by the argument of stats."""


def written(told: Iterable[tuple[str, object]]) -> bytes:
    """Statistics as memcached writes them."""
    return "".join(f"STAT {name} {value}\r\n" for name, value in told).encode() + _END


def _read(reply: bytes) -> dict[str, str]:
    """The values of a reply, by name."""
    found = {}
    for line in re.split("[\r\n]+", reply.decode("utf-8", "replace")):
        word, _, rest = line.partition(" ")
        name, blank, value = rest.partition(" ")
        if word == "STAT" and blank:
            found[name] = value
    return found


def merge(kind: str, replies: Sequence[Any], known: dict[str, object]) -> Generator[bytes, None, bytes]:
    """The reply to ``stats`` with the argument ``kind``, see ``protocol.plan.Steps``.

    ``replies``: the results of all servers, see ``upstream.server_poll``; the reply counts the servers that failed.
    ``known``: the proxy's own figures.
    """
    told: list[dict[str, str]] = []
    for reply in replies:
        if reply.state == "ok":
            told.append(_read(reply.text))
            yield b""
    if not told:
        return next((reply.text for reply in replies if reply.text[:1].isupper()), _FAILED + b"no server answered\r\n")
    merged: dict[str, object] = {}
    for name in dict.fromkeys(name for figures_ in told for name in figures_):
        values = [figures_[name] for figures_ in told if name in figures_]
        value = values[0] if len(told) == 1 else RULES[kind].merge(name, values)
        if value is not None:
            merged[name] = value
    yield b""
    if not kind:
        merged["pid"] = known["pid"]
    if len(told) < len(replies):
        merged["servers_failed"] = len(replies) - len(told)
    return written(merged.items())


def join(replies: Sequence[tuple[str, bytes]]) -> bytes:
    """The statistics of all servers in one reply; with several servers each line begins with its server's name.

    ``replies``: (name, reply) of each server; for one that did not answer, the reply is the proxy's own SERVER_ERROR.
    If all that answered sent a single line instead of statistics, the reply is the first error, otherwise the first
    line.
    """
    if len(replies) == 1:
        return replies[0][1]
    failures = [reply for _, reply in replies if reply.startswith(_FAILED)]
    single = [reply for _, reply in replies if not reply.startswith((*_PREFIXED, _END, _FAILED))]
    if single and len(single) + len(failures) == len(replies):
        errors = [reply for reply in single if b"ERROR" in reply.split()[0]]
        return (failures + errors + single)[0]
    lines = []
    for server, reply in replies:
        name = server.encode()
        if reply.startswith(_FAILED) or reply in single:
            lines.append(b"STAT %s:error %s\r\n" % (name, reply.removeprefix(_FAILED).split(b"\r\n")[0]))
            continue
        for line in reply.split(b"\r\n"):
            for word in _PREFIXED:
                if line.startswith(word):
                    lines.append(word + name + b":" + line.removeprefix(word) + b"\r\n")
    return b"".join(lines) + _END
