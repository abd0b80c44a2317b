"""What ``nutcracker top`` shows, as lines of text: the proxy, its pools, and the servers of one pool."""

import time
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from twemproxy.commands.rates import Figures, PoolFigures, Report, ServerFigures, figures

Style = str
"""``plain``, ``bold``, ``muted``, ``bad`` (what is wrong), ``warning``, or ``sorted`` (the column that sorts)."""

Line = tuple[tuple[str, Style], ...]
"""A line: its texts one after the other, each with its style."""

_UNKNOWN: Final = "-"
_LEAST_NAME: Final = 8
_MOST_COMPLAINTS: Final = 3


class _Column(NamedTuple):
    title: str
    width: int
    """With the space before it. 0: what is left; there is one such column, the first."""
    value: Callable[[Any], Any]
    """For sorting."""
    text: Callable[[Any], str]


def number(value: float | None) -> str:
    """A number in five characters."""
    if value is None:
        return _UNKNOWN
    for unit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= unit:
            return _digits(value / 1e3 if suffix == "k" else value / unit) + suffix
    return f"{value:.0f}" if value == int(value) or value >= 100 else f"{value:.1f}"


def duration(microseconds: float | None) -> str:
    """A time in six characters."""
    if microseconds is None:
        return _UNKNOWN
    if microseconds < 999.5:
        return f"{microseconds:.0f}us"
    if microseconds < 999_500:
        return f"{_digits(microseconds / 1e3)}ms"
    return f"{_digits(microseconds / 1e6)}s"


def size(number_of_bytes: float) -> str:
    """A number of bytes."""
    for suffix in ("B", "KB", "MB", "GB"):
        if number_of_bytes < 1024:
            return f"{number_of_bytes:.0f} B" if suffix == "B" else f"{_digits(number_of_bytes)} {suffix}"
        number_of_bytes /= 1024
    return f"{_digits(number_of_bytes)} TB"


def age(seconds: float) -> str:
    """How long something has lasted."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days:.0f} d {hours % 24:.0f} h"
    if hours:
        return f"{hours:.0f} h {minutes % 60:.0f} min"
    return f"{minutes:.0f} min {seconds % 60:.0f} s"


def percent(share: float | None) -> str:
    """A share from 0 to 1, in five characters."""
    if share is None:
        return _UNKNOWN
    return f"{100 * share:.2f}%" if 0 < share < 0.01 else f"{100 * share:.1f}%"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _live(pool: PoolFigures) -> str:
    return f"{pool.servers_live}/{len(pool.servers)}"


POOL_COLUMNS: Final = (
    _Column("POOL", 0, lambda pool: pool.name, lambda pool: pool.name),
    _Column("LIVE", 9, lambda pool: pool.servers_live, _live),
    _Column("CLIENTS", 8, lambda pool: pool.clients, lambda pool: number(pool.clients)),
    _Column("REQ/S", 7, lambda pool: pool.requests, lambda pool: number(pool.requests)),
    _Column("ERR/S", 7, lambda pool: pool.errors, lambda pool: number(pool.errors)),
    _Column("P50", 7, lambda pool: pool.p50, lambda pool: duration(pool.p50)),
    _Column("P99", 7, lambda pool: pool.p99, lambda pool: duration(pool.p99)),
    _Column("P99.9", 7, lambda pool: pool.p999, lambda pool: duration(pool.p999)),
    _Column("QUEUE", 7, lambda pool: pool.queue, lambda pool: number(pool.queue)),
)

SERVER_COLUMNS: Final = (
    _Column("SERVER", 0, lambda server: server.name, lambda server: server.name),
    _Column("STATE", 8, lambda server: server.is_live, lambda server: "live" if server.is_live else "ejected"),
    _Column("KEYS", 6, lambda server: server.share, lambda server: percent(server.share)),
    _Column("REQS", 6, lambda server: server.traffic, lambda server: percent(server.traffic)),
    _Column("REQ/S", 7, lambda server: server.requests, lambda server: number(server.requests)),
    _Column("ERR/S", 6, lambda server: server.errors, lambda server: number(server.errors)),
    _Column("P50", 7, lambda server: server.server_p50, lambda server: duration(server.server_p50)),
    _Column("P99", 7, lambda server: server.server_p99, lambda server: duration(server.server_p99)),
    _Column("WAIT99", 7, lambda server: server.waiting_p99, lambda server: duration(server.waiting_p99)),
    _Column("QUEUE", 6, lambda server: server.queue, lambda server: number(server.queue)),
)

HELP: Final = (
    "up, down, page up, page down   choose a line",
    "Enter, right                   show the servers of the chosen pool",
    "Escape, left, backspace        back to the pools",
    "s, S                           sort by the next column, by the former one",
    "r                              sort the other way around",
    "h, ?                           this help, and back",
    "q                              quit",
    "",
    "All rates are per second, since the last frame. ERR/S of a pool: errors of clients,",
    "and requests that were not forwarded; of a server: errors and timeouts.",
    "P50, P99, P99.9: of a pool, from reading a request to writing its reply; of a",
    "server, from sending a request to its reply. WAIT99: from reading it to sending it.",
    "KEYS and REQS are shares of the keys and of the requests of the pool.",
    "QUEUE: requests that wait to be sent, or for their replies.",
    "A server in yellow gets more than twice its part of the requests.",
)


class Frame(msgspec.Struct):
    """What is shown: the newest report, and how the user looks at it."""

    report: Report
    now: Figures
    pool: str = ""
    """The pool whose servers are shown; empty: the pools."""
    sort: int = 0
    """The column that sorts; -1, for servers: the order of the configuration file."""
    is_reversed: bool = False
    """Whether the smallest value is first, or the last name."""

    @classmethod
    def of(cls, newer: Report, older: Report | None) -> "Frame":
        """The frame of what happens between two reports."""
        return cls(newer, figures(newer, older))

    def open(self, pool: str) -> None:
        """Show the servers of this pool; empty: the pools."""
        self.pool = pool
        self.sort, self.is_reversed = self.first_sort, False

    @property
    def first_sort(self) -> int:
        """What ``sort`` is at first."""
        return -1 if self.pool else 0

    @property
    def columns(self) -> Sequence[_Column]:
        return SERVER_COLUMNS if self.pool else POOL_COLUMNS

    def rows(self) -> Sequence[PoolFigures | ServerFigures]:
        """The pools, or the servers of the pool, in the order in which they are shown."""
        rows: Sequence[Any] = self.now.pools
        if self.pool:
            rows = next((pool.servers for pool in self.now.pools if pool.name == self.pool), ())
        if self.sort < 0:
            return rows[::-1] if self.is_reversed else rows
        value = self.columns[self.sort].value
        # Names begin with the first one, figures with the largest; what is unknown counts as the smallest.
        return sorted(
            rows,
            key=lambda row: (value(row) is not None, value(row) if value(row) is not None else 0),
            reverse=(self.sort > 0) != self.is_reversed,
        )

    def head(self, width: int) -> list[Line]:
        """The lines about the proxy, and the names of the columns."""
        report, now = self.report, self.now
        workers = "1 worker" if len(report["workers"]) == 1 else f"{len(report['workers'])} workers"
        servers = sum(len(pool.servers) for pool in now.pools)
        live = sum(pool.servers_live for pool in now.pools)
        title = (
            f"nutcracker {report['version']} on {report['hostname']}, pid {report['pid']}, {workers}, "
            f"up {age(report['now'] - report['started_at'])}, "
            f"{time.strftime('%H:%M:%S', time.localtime(report['now']))}"
        )
        rates = (
            f"requests/s {number(now.requests)}   errors/s {number(now.errors)}   p50 {duration(now.p50)}   "
            f"p99 {duration(now.p99)}   p99.9 {duration(now.p999)}"
        )
        state = (
            f"clients {number(now.clients)}   servers live {live}/{servers}   in flight {number(now.queue)}   "
            f"memory {size(report['process']['memory_held'])}"
        )
        lines = [(fitted(title, width), "bold"), (fitted(rates, width), "plain"), (fitted(state, width), "plain")]
        lines += [(fitted(text, width), "bad") for text in self._complaints()]
        found: list[Line] = [(line,) for line in lines]
        return [*found, (), self._titles(width)]

    def row(self, row: PoolFigures | ServerFigures, width: int) -> tuple[str, Style]:
        """The line of a pool or of a server."""
        widths = self._widths(width)
        texts = [column.text(row) for column in self.columns]
        style = "plain"
        if isinstance(row, PoolFigures):
            style = "bad" if row.servers_live < len(row.servers) else "plain"
        elif not row.is_live:
            style = "bad"
        elif row.is_skewed:
            style = "warning"
        first, *rest = zip(texts, widths, strict=True)
        return fitted(*first, pad=True) + "".join(f"{text:>{wide}}" for text, wide in rest), style

    def text(self, width: int) -> str:
        """All of the frame, for a file or a pipe."""
        lines = ["".join(text for text, _ in line) for line in self.head(width)]
        lines += [self.row(row, width)[0] for row in self.rows()]
        return "\n".join(line.rstrip() for line in lines)

    def order(self) -> str:
        """By what the lines are sorted, in words."""
        if self.sort < 0:
            return "in the order of the file" + (", last one first" if self.is_reversed else "")
        if self.sort == 0:
            return "by name, last one first" if self.is_reversed else "by name"
        return f"by {self.columns[self.sort].title}, {'smallest' if self.is_reversed else 'largest'} first"

    def _titles(self, width: int) -> Line:
        texts: list[tuple[str, Style]] = []
        for place, (column, wide) in enumerate(zip(self.columns, self._widths(width), strict=True)):
            text = f"{column.title:<{wide}}" if place == 0 else f"{column.title:>{wide}}"
            texts.append((text[:wide], "sorted" if place == self.sort else "muted"))
        return tuple(texts)

    def _widths(self, width: int) -> list[int]:
        rest = sum(column.width for column in self.columns)
        return [column.width or max(_LEAST_NAME, width - rest) for column in self.columns]

    def _complaints(self) -> list[str]:
        """What is wrong, a line for each."""
        found = []
        if not self.report["ready"]:
            found.append("the proxy is starting or stopping")
        reload = self.report["config"]["last_reload"]
        if reload and reload["failed"]:
            found.append(f"the last reload failed: {reload['text']}")
        for pool in self.report["pools"]:
            ejected = [server for server in pool["servers"] if server["state"] == "ejected"]
            if ejected:
                why = f": {ejected[0]['ejected_why']}" if ejected[0]["ejected_why"] else ""
                more = f" (and {len(ejected) - 1} more)" if len(ejected) > 1 else ""
                found.append(f"{pool['name']}: {ejected[0]['name']} is ejected{more}{why}")
            skewed = [server for server in pool["servers"] if server.get("is_skewed") and server["excess"]]
            if skewed:
                most = max(skewed, key=lambda server: float(server["excess"]))
                more = f" ({len(skewed) - 1} more get more than twice theirs)" if len(skewed) > 1 else ""
                found.append(f"{pool['name']}: {most['name']} gets {most['excess']:.1f} times its share{more}")
        if len(found) > _MOST_COMPLAINTS:
            found[_MOST_COMPLAINTS - 1 :] = [f"and {len(found) - _MOST_COMPLAINTS + 1} more, see the pools"]
        return found


def fitted(text: str, width: int, *, pad: bool = False) -> str:
    """The text in at most ``width`` cells of a terminal; ``pad``: in as many. What cannot be printed is replaced."""
    cells = 0
    fitting = []
    for character in text:
        shown = character if character.isprintable() else "?"
        wide = 0 if unicodedata.combining(shown) else 2 if unicodedata.east_asian_width(shown) in "WF" else 1
        if cells + wide > width - (1 if pad else 0):
            break
        cells += wide
        fitting.append(shown)
    return "".join(fitting) + (" " * (width - cells) if pad else "")
