"""Logging with nutcracker's levels: one line and one write(2) per event, to a file or to standard error.

The levels 0 (EMERG) to 11 (PVERB) are mapped to numbers of the standard library, so that the messages of each
``logging.Logger`` of the process, including asyncio's, are filtered and written here. A line has the form

    [2026-11-22 16:41:00.123] NOTICE supervisor.supervisor: message

in local time. Control characters of a message are escaped, so that one event is one line. With the format ``json`` a
line is a JSON object with the same message, the time in UTC, and the fields of the event.

The arguments of a message are its fields when they are one dictionary, whose names are in FIELDS:

    _logger.info("%(pool)s: server '%(server)s' is back", {"pool": "alpha", "server": "a"})

The dictionary may have more fields than the message names.
"""

import logging
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import msgspec

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

FIELDS: Final = {
    "pool": "name of the pool",
    "server": "name of the server",
    "server_address": "address and weight of the server, as in the configuration file",
    "client": "number of the client's connection in its worker, the file descriptor",
    "client_address": "address of the client, as the proxy sees it",
    "worker": "number of the worker that writes the line, or that a line of the supervisor is about",
    "worker_pid": "process id of this worker",
    "other_worker": "number of another worker, with which this one has to do",
    "addresses": "addresses of the server",
    "reason": "why it happened",
    "action": "what is done about it, or what to do",
    "share": "share of the keys that the server has, from 0 to 1",
    "traffic": "share of the requests of the pool that the server got, from 0 to 1",
    "excess": "how many times a share is what it should be",
    "bytes": "size that exceeds a limit, or memory in use",
    "limit": "the limit",
    "requests": "number of requests",
    "failed": "number of requests that failed",
    "resent": "number of requests that are sent once more",
    "topics": "number of channels and patterns",
    "clients": "number of clients",
    "server_connections": "number of connections to servers",
    "responses": "number of replies",
    "errors": "number of requests that failed in the proxy",
    "ejects": "number of ejections",
    "milliseconds": "a time",
    "protocol": "the protocol that a client speaks",
    "passwords": "number of wrong passwords",
    "lines": "number of lines of the access log",
    "suppressed": "number of events like this one since the last line, which were not logged",
    "generation": "number of the configuration that is served",
    "fingerprint": "fingerprint of the configuration that is served",
    "workers": "number of workers",
    "wanted": "number of workers that is wanted",
    "change": "a difference between the configuration that was served and the new one",
    "pools": "names of the pools, and the addresses on which they listen",
    "address": "an address on which the proxy listens",
    "path": "path of the configuration file",
    "pid": "process id of the supervisor",
    "version": "version of the proxy",
    "former_version": "version of the proxy before an upgrade",
    "platform": "system, release and machine",
    "descriptor": "number of a file descriptor",
    "signal": "name of a signal",
    "log_level": "the log level, 0 to 11",
}
"""The fields of events and their meanings; each event also has ``time``, ``level``, ``module`` and ``message``."""

_ERR_LEVEL: Final = 3
_CUT: Final = "..."
_PACKAGE: Final = "twemproxy"
_COMMAND: Final = "nutcracker"

_names = {number: name for name, number in LEVELS}
_escapes = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
} | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_json_escapes = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}
"""Of the characters that JSON may have as they are, those that some reader takes for the end of a line or a command."""


class LogError(Exception):
    """The log file cannot be opened. The text is the reason."""


def _level_of(record: logging.LogRecord) -> str:
    return _names.get(record.levelno, record.levelname)


def _module_of(record: logging.LogRecord) -> str:
    return record.name.removeprefix(_PACKAGE + ".")


def _message_of(record: logging.LogRecord) -> str:
    """The message of an event, with the traceback of its exception."""
    message = record.getMessage()
    return f"{message}\n{_traceback.formatException(record.exc_info)}" if record.exc_info else message


_traceback = logging.Formatter()


def _text_line(record: logging.LogRecord, worker: int) -> bytes:
    """A record as a line of text, without a newline. ``worker`` has no place in it."""
    seconds = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
    text = f"[{seconds}.{int(record.msecs):03d}] {_level_of(record)} {_module_of(record)}: {_message_of(record)}"
    line = text.translate(_escapes).encode(errors="backslashreplace")
    return line if len(line) < LINE_LIMIT else line[: LINE_LIMIT - 1 - len(_CUT)] + _CUT.encode()


def _json_line(record: logging.LogRecord, worker: int) -> bytes:
    """A record as a JSON object, without a newline. ``worker``: the number of this worker; 0: that is no field."""
    seconds, microseconds = divmod(int(record.created * 1_000_000), 1_000_000)
    time_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    head = {"time": f"{time_text}.{microseconds:06d}Z", "level": _level_of(record), "module": _module_of(record)}
    event: dict[str, object] = {"message": _shown(_message_of(record))}
    if worker:
        event["worker"] = worker
    if isinstance(record.args, Mapping):
        event |= {name: _shown(value) for name, value in record.args.items()}
    line = _encoded(head, event)
    if len(line) < LINE_LIMIT:
        return line
    # The longest texts are cut, so a long message before short fields.
    most = bisect_right(range(LINE_LIMIT), LINE_LIMIT - 1, key=lambda most: len(_encoded(head, _cut(event, most)))) - 1
    return _encoded(head, _cut(event, most))


def _shown(value: object) -> object:
    """A value as JSON can have it: a number, or a text, in which bytes that are no UTF-8 are escaped."""
    if isinstance(value, int | float):
        return value
    return str(value).encode(errors="backslashreplace").decode()


def _cut(event: Mapping[str, object], most: int) -> dict[str, object]:
    """The event with texts of at most ``most`` characters, and the sign that a text was cut."""
    return {
        name: value[:most] + _CUT if isinstance(value, str) and len(value) > most else value
        for name, value in event.items()
    }


def _encoded(head: Mapping[str, object], event: Mapping[str, object]) -> bytes:
    return single_line(msgspec.json.encode({**head, **event}))


def single_line(encoded: bytes) -> bytes:
    """A JSON object, as msgspec has encoded it, on one line, whatever a reader takes for the end of a line."""
    if encoded.isascii() and b"\x7f" not in encoded:
        return encoded
    return encoded.decode().translate(_json_escapes).encode()


_FORMATS: Final[Mapping[str, Callable[[logging.LogRecord, int], bytes]]] = {"text": _text_line, "json": _json_line}
"""The functions that format a record, see ``config.options.LOG_FORMATS``."""


class _LineHandler(logging.Handler):
    """Writes each record with one write(2). A line that cannot be written is dropped."""

    def __init__(self, settings: LogSettings, worker: int) -> None:
        """Open the log file to append to it, created with mode 0644. Raises LogError.

        ``worker``: as in ``configure``.
        """
        super().__init__()
        self.path = settings.path
        self._line = _FORMATS[settings.format]
        self._worker = worker
        self.descriptor = _open(self.path) if self.path else 2

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self._line(record, self._worker) + b"\n"
        except Exception:
            self.handleError(record)
            return
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


def configure(settings: LogSettings, worker: int = 0) -> None:
    """Apply these settings from now on. Raises LogError; then nothing changes.

    ``worker``: the number of the worker that this process is; 0: it is the supervisor.
    """
    global _handler
    handler = _LineHandler(settings, worker)
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
