"""The terminal of ``nutcracker top``: draws frames in place, and follows the keys."""

import curses
import locale
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from twemproxy.commands.frame import CommandError
from twemproxy.commands.frames import HELP, Frame, Line, Style, fitted
from twemproxy.commands.rates import Report, figures

_LOOK_TIME: Final = 200
"""Milliseconds without a key after which the screen looks for a new report."""
_ESCAPE: Final = 27
_ESCAPE_TIME: Final = 25
"""Milliseconds that the rest of a key's sequence may take."""
_BACK: Final = (_ESCAPE, curses.KEY_LEFT, curses.KEY_BACKSPACE, 127, 8)
_OPEN: Final = (curses.KEY_ENTER, curses.KEY_RIGHT, 10, 13)
_RED: Final = 1
_YELLOW: Final = 2


class Screen:
    """Shows what a proxy does until the user quits."""

    def __init__(self, ask: Callable[[], Report], interval: float, first: Report, pool: str) -> None:
        """``ask``: returns a report, or raises CommandError. ``pool``: its servers come first; empty: the pools."""
        self._reports = _Reports(ask, interval, first)
        self._seen = 0
        self._failure = ""
        self._frame = Frame.of(first, None)
        self._frame.open(pool)
        self._chosen = 0
        self._first_row = 0
        self._is_help = False
        self._styles: dict[Style, int] = {}

    def run(self) -> None:
        """Draw until the user quits. Raises CommandError if the terminal cannot be drawn on."""
        locale.setlocale(locale.LC_ALL, "")
        curses.set_escdelay(_ESCAPE_TIME)
        try:
            curses.wrapper(self._loop)
        except KeyboardInterrupt:
            pass
        except curses.error as error:
            raise CommandError(f"the terminal cannot be drawn on: {error}; --once prints one frame as text") from error

    def _loop(self, window: curses.window) -> None:
        window.timeout(_LOOK_TIME)
        self._prepare()
        is_changed = True
        while True:
            if is_changed:
                self._draw(window)
            key = window.getch()
            if key in (ord("q"), ord("Q")):
                return
            if key != curses.ERR:
                self._press(key, window.getmaxyx()[0])
            is_changed = self._look() or key != curses.ERR

    def _prepare(self) -> None:
        self._styles = {
            "plain": curses.A_NORMAL,
            "bold": curses.A_BOLD,
            "muted": curses.A_BOLD,
            "sorted": curses.A_REVERSE,
            "bad": curses.A_BOLD,
            "warning": curses.A_BOLD,
        }
        with suppress(curses.error):  # not every terminal can hide the cursor
            curses.curs_set(0)
        if curses.has_colors():
            curses.use_default_colors()
            curses.init_pair(_RED, curses.COLOR_RED, -1)
            curses.init_pair(_YELLOW, curses.COLOR_YELLOW, -1)
            self._styles["bad"] |= curses.color_pair(_RED)
            self._styles["warning"] |= curses.color_pair(_YELLOW)

    def _look(self) -> bool:
        """Take the newest report; returns whether there is something new to show."""
        number, newest, former, failure = self._reports.latest()
        if number == self._seen:
            return False
        self._seen = number
        self._failure = failure
        if not failure:
            name = self._chosen_name()
            self._frame.report = newest
            self._frame.now = figures(newest, former)
            if self._frame.pool and self._frame.pool not in (pool.name for pool in self._frame.now.pools):
                self._show_pools()  # a reload has removed it
            self._choose(name)
        return True

    def _press(self, key: int, height: int) -> None:
        rows = len(self._frame.rows())
        moves = {
            curses.KEY_UP: -1,
            ord("k"): -1,
            curses.KEY_DOWN: 1,
            ord("j"): 1,
            curses.KEY_PPAGE: -max(1, height // 2),
            curses.KEY_NPAGE: max(1, height // 2),
            curses.KEY_HOME: -rows,
            curses.KEY_END: rows,
        }
        if key in (ord("h"), ord("?"), curses.KEY_F1) or self._is_help:
            self._is_help = not self._is_help
        elif key in moves:
            self._chosen = max(0, min(rows - 1, self._chosen + moves[key]))
        elif key in _OPEN and not self._frame.pool and rows > 0:
            self._frame.open(self._chosen_name())
            self._chosen = 0
        elif key in _BACK and self._frame.pool:
            self._show_pools()
        elif key in (ord("s"), ord("S"), ord("r")):
            name = self._chosen_name()
            if key == ord("r"):
                self._frame.is_reversed = not self._frame.is_reversed
            else:
                columns = range(self._frame.first_sort, len(self._frame.columns))
                step = 1 if key == ord("s") else -1
                self._frame.sort = columns[(columns.index(self._frame.sort) + step) % len(columns)]
            self._choose(name)

    def _show_pools(self) -> None:
        name = self._frame.pool
        self._frame.open("")
        self._choose(name)

    def _chosen_name(self) -> str:
        rows = self._frame.rows()
        return rows[self._chosen].name if self._chosen < len(rows) else ""

    def _choose(self, name: str) -> None:
        """Have the row with this name as the chosen one, if it is there."""
        names = [row.name for row in self._frame.rows()]
        last = max(0, len(names) - 1)
        self._chosen = names.index(name) if name in names else min(self._chosen, last)

    def _draw(self, window: curses.window) -> None:
        height, width = window.getmaxyx()
        window.erase()
        if self._is_help:
            for place, text in enumerate(HELP):
                self._put(window, place, ((text, "plain"),))
            window.refresh()
            return
        lines = self._frame.head(width)
        for place, line in enumerate(lines):
            self._put(window, place, line)
        rows = self._frame.rows()
        room = max(1, height - len(lines) - 1)
        self._first_row = max(0, min(self._first_row, self._chosen, len(rows) - room))
        self._first_row = max(self._first_row, self._chosen - room + 1)
        for place, row in enumerate(rows[self._first_row : self._first_row + room]):
            text, style = self._frame.row(row, width)
            is_chosen = self._first_row + place == self._chosen
            self._put(window, len(lines) + place, ((text, style),), curses.A_REVERSE if is_chosen else 0)
        self._put(window, height - 1, self._bottom(len(rows), width))
        window.refresh()

    def _bottom(self, rows: int, width: int) -> Line:
        if self._failure:
            return ((f"no answer since {self._reports.silent_since}: {self._failure}", "bad"),)
        number = f"{rows} {'server' if self._frame.pool else 'pool'}{'' if rows == 1 else 's'}"
        what = f"{self._frame.pool}, {number}" if self._frame.pool else number
        keys = f"{'Esc back' if self._frame.pool else 'Enter opens'}, s sort, h help, q quit"
        room = max(0, width - len(keys) - 1)
        return ((f"{fitted(f'{what}, {self._frame.order()}', room, pad=True)}{keys}", "muted"),)

    def _put(self, window: curses.window, place: int, line: Line, more: int = 0) -> None:
        height, width = window.getmaxyx()
        if place >= height:
            return
        column = 0
        for text, style in line:
            if column < width:
                with suppress(curses.error):  # for the last cell of the screen, after it is written
                    window.addnstr(place, column, text, width - column, self._styles[style] | more)
            column += len(text)


class _Reports:
    """Asks for a report after each interval, in a thread, so that a proxy that hangs does not stop the keys."""

    def __init__(self, ask: Callable[[], Report], interval: float, first: Report) -> None:
        self._ask = ask
        self._interval = interval
        self._lock = threading.Lock()
        self._number = 0
        self._newest = first
        self._former: Report | None = None
        self._failure = ""
        self.silent_since = ""
        """The time of day of the first question without an answer."""
        threading.Thread(target=self._run, daemon=True).start()

    def latest(self) -> tuple[int, Report, Report | None, str]:
        """How often the proxy was asked, the newest report, the one before it, and why the last question has no answer.

        The last one is empty if it has one.
        """
        with self._lock:
            return self._number, self._newest, self._former, self._failure

    def _run(self) -> None:
        while True:
            time.sleep(self._interval)
            asked = time.strftime("%H:%M:%S")
            try:
                report = self._ask()
            except CommandError as error:
                with self._lock:
                    if not self._failure:
                        self.silent_since = asked
                    self._failure = str(error).partition("\n")[0]
                    self._number += 1
            else:
                with self._lock:
                    if report["now"] != self._newest["now"]:  # otherwise there would be no rates
                        self._former, self._newest = self._newest, report
                    self._failure = ""
                    self._number += 1
