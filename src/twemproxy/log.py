"""Logging with nutcracker's levels: one line and one write(2) per event, to a file or to standard error.

The levels 0 (EMERG) to 11 (PVERB) are mapped to numbers of the standard library, so that the messages of each
``logging.Logger`` of the process, including asyncio's, are filtered and written here. A line has the form

    [2026-11-22 16:41:00.123] NOTICE supervisor.supervisor: message

in local time. Control characters of a message are escaped, so that one event is one line.
"""

import logging
import os
import time
from contextlib import suppress
from typing import Final

from twemproxy.ipc.messages import LogSettings

EMERG: Final = 60
ALERT: Final = 55
CRIT: Final = logging.CRITICAL
ERR: Final = logging.ERROR
WARN: Final = logging.WARNING
NOTICE: Final = 25
INFO: Final = logging.INFO
DEBUG: Final = logging.DEBUG
VERB: Final = 8
VVERB: Final = 6
VVVERB: Final = 4
PVERB: Final = 2

LEVELS: Final = (
    ("EMERG", EMERG),
    ("ALERT", ALERT),
    ("CRIT", CRIT),
    ("ERR", ERR),
    ("WARN", WARN),
    ("NOTICE", NOTICE),
    ("INFO", INFO),
    ("DEBUG", DEBUG),
    ("VERB", VERB),
    ("VVERB", VVERB),
    ("VVVERB", VVVERB),
    ("PVERB", PVERB),
)
"""Name and standard library's number of each level. The position is nutcracker's level."""

DEFAULT_LEVEL: Final = 5
MAX_LEVEL: Final = len(LEVELS) - 1

LINE_LIMIT: Final = 4096
"""Most bytes of a line with its newline; a longer line is cut.

The value is PIPE_BUF, so that lines of several processes never mix.
"""

_ERR_LEVEL: Final = 3
_CUT: Final = b"...\n"
_PACKAGE: Final = "twemproxy"
_COMMAND: Final = "nutcracker"

_names = {number: name for name, number in LEVELS}
_escapes = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
} | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


class LogError(Exception):
    """The log file cannot be opened. The text is the reason."""


class _LineFormatter(logging.Formatter):
    """Formats a record as one line, without a newline."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        level = _names.get(record.levelno, record.levelname)
        module = record.name.removeprefix(_PACKAGE + ".")
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        return f"[{seconds}.{int(record.msecs):03d}] {level} {module}: {message}".translate(_escapes)


class _LineHandler(logging.Handler):
    """Writes each record with one write(2). A line that cannot be written is dropped."""

    def __init__(self, path: str) -> None:
        """Open the file ``path`` to append to it, created with mode 0644; empty: standard error. Raises LogError."""
        super().__init__()
        self.setFormatter(_LineFormatter())
        self.path = path
        self.descriptor = _open(path) if path else 2

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode(errors="backslashreplace") + b"\n"
        except Exception:
            self.handleError(record)
            return
        if len(line) > LINE_LIMIT:
            line = line[: LINE_LIMIT - len(_CUT)] + _CUT
        with suppress(OSError):
            os.write(self.descriptor, line)

    def reopen(self) -> None:
        """Open the path again, and continue in the new file. Raises LogError; the old file then stays in use."""
        if not self.path:
            return
        descriptor = _open(self.path)
        self.acquire()
        try:
            os.dup2(descriptor, self.descriptor, inheritable=False)
        finally:
            self.release()
            os.close(descriptor)

    def close(self) -> None:
        super().close()
        if self.path and self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


_handler: _LineHandler | None = None
_level = DEFAULT_LEVEL


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise LogError(f"opening log file '{path}' failed: {reason}") from error


def configure(settings: LogSettings) -> None:
    """Apply these settings from now on. Raises LogError; then nothing changes."""
    global _handler
    handler = _LineHandler(settings.path)
    root = logging.getLogger()
    if _handler is not None:
        root.removeHandler(_handler)
        _handler.close()
    root.addHandler(handler)
    _handler = handler
    set_level(settings.level)


def set_level(level: int) -> None:
    """Log messages up to this level. A level outside of 0 to 11 means the nearest of the two.

    ERR and CRIT are logged from level 1 on, as nutcracker logs its errors; at level 0, only EMERG is logged.
    """
    global _level
    _level = min(max(level, 0), MAX_LEVEL)
    shown = max(_level, _ERR_LEVEL) if _level > 0 else 0
    logging.getLogger().setLevel(LEVELS[shown][1])


def current_level() -> int:
    """Return the current level, 0 to 11."""
    return _level


def reopen() -> None:
    """Close the log file and open its path again, after a rotation. Without a log file, do nothing.

    Raises LogError; the old file then stays in use.
    """
    if _handler is not None:
        _handler.reopen()


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module. ``name``: the module's ``__name__``."""
    return logging.getLogger(name)


def always(message: str, *args: object) -> None:
    """Log a message at any log level, as a NOTICE of ``nutcracker``. ``args``: as in logging."""
    root = logging.getLogger()
    root.handle(root.makeRecord(_COMMAND, NOTICE, _COMMAND, 0, message, args, None))
