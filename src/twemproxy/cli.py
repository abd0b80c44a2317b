"""The ``nutcracker`` command: its options, the informational modes, and the start of a normal run.

A command line that begins with the name of a sub-command is left to ``twemproxy.commands``. Otherwise:

Options are parsed as by getopt_long: short options can be combined, long options can be abbreviated, and other words
are ignored. All output goes to standard error. Each mode imports only the modules that it needs.
"""

import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from getopt import GetoptError, gnu_getopt
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from twemproxy import __version__, commands
from twemproxy.config.files import PLACES, NoConfiguration, complete
from twemproxy.config.numbers import NUMBER_MAXIMUM, parse_number

if TYPE_CHECKING:
    from twemproxy.config.options import Options

_PORT_MAXIMUM: Final = 65535
_LOG_LEVEL_MAXIMUM: Final = 11
_SMALLEST_MBUF: Final = 512
_LARGEST_MBUF: Final = 16777216
_SMALLEST_MEMORY: Final = 8 << 20
_SIZE_REQUIREMENT: Final = "a size in bytes, kb, mb or gb"
_WORKERS_REQUIREMENT: Final = "a number from 1 to 256, or auto"
_LOG_FORMAT_REQUIREMENT: Final = "text or json"
_COMPAT: Final = "twemproxy"
_SIZE_UNITS: Final = {"": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}

_USAGE_WIDTH: Final = 68
_HELP_COLUMN: Final = 25


class OptionError(Exception):
    """The command line is not valid. The text is the reason."""


def _parse_text(_: str, text: str) -> str:
    return text


def _parse_number(letter: str, text: str) -> int:
    number = parse_number(text)
    if number is None or number > NUMBER_MAXIMUM:
        raise OptionError(f"option -{letter} requires a number")
    return number


def _parse_log_level(letter: str, text: str) -> int:
    return min(_parse_number(letter, text), _LOG_LEVEL_MAXIMUM)


def _parse_port(letter: str, text: str) -> int:
    port = parse_number(text)
    if port is None:
        raise OptionError(f"option -{letter} requires a number")
    if not 1 <= port <= _PORT_MAXIMUM:
        raise OptionError(f"option -{letter} value {text} is not a valid port")
    return port


def _parse_mbuf_size(letter: str, text: str) -> int:
    size = parse_number(text)
    if not size:
        raise OptionError(f"option -{letter} requires a non-zero number")
    if not _SMALLEST_MBUF <= size <= _LARGEST_MBUF:
        raise OptionError(f"mbuf chunk size must be between {_SMALLEST_MBUF} and {_LARGEST_MBUF} bytes")
    return size


def _parse_memory(letter: str, text: str) -> int:
    digits = text.rstrip("kmgbKMGB")
    number = parse_number(digits)
    unit = _SIZE_UNITS.get(text[len(digits) :].lower())
    if number is None or unit is None:
        raise OptionError(f"option -{letter} requires {_SIZE_REQUIREMENT}")
    size = number * unit
    if 0 < size < _SMALLEST_MEMORY:
        raise OptionError(f"option -{letter} value {text} must be 0 or at least 8mb")
    if size > sys.maxsize:
        raise OptionError(f"option -{letter} value {text} is too large")
    return size


def _parse_compat(letter: str, text: str) -> str:
    if text != _COMPAT:
        raise OptionError(f"option -{letter} value {text} is unknown: it can be {_COMPAT}")
    return text


def _parse_workers(letter: str, text: str) -> int:
    from twemproxy.config.options import worker_count

    count = worker_count(text)
    if count is None:
        raise OptionError(f"option -{letter} requires {_WORKERS_REQUIREMENT}")
    return count


def _parse_log_format(letter: str, text: str) -> str:
    from twemproxy.config.options import LOG_FORMATS

    if text not in LOG_FORMATS:
        raise OptionError(f"option -{letter} requires {_LOG_FORMAT_REQUIREMENT}")
    return text


class _Argument(NamedTuple):
    """A kind of argument."""

    symbol: str
    """The symbol in the list of options: N for a number, S for a string."""
    requirement: str
    """The text after "requires" in the error for an option without its argument."""
    parse: Callable[[str, str], Any]
    """A function of (option letter, text) that returns the value, or raises OptionError with the reason."""


_FILE: Final = _Argument("S", "a file name", _parse_text)
_STRING: Final = _Argument("S", "a string", _parse_text)
_NUMBER: Final = _Argument("N", "a number", _parse_number)
_LOG_LEVEL: Final = _Argument("N", "a number", _parse_log_level)
_PORT: Final = _Argument("N", "a number", _parse_port)
_MBUF_SIZE: Final = _Argument("N", "a number", _parse_mbuf_size)
_WORKERS: Final = _Argument("N", _WORKERS_REQUIREMENT, _parse_workers)
_LOG_FORMAT: Final = _Argument("S", _LOG_FORMAT_REQUIREMENT, _parse_log_format)
_NAMES: Final = _Argument("S", f"the word {_COMPAT}", _parse_compat)
_MEMORY: Final = _Argument("N", _SIZE_REQUIREMENT, _parse_memory)


class Option(NamedTuple):
    """One option of the command line."""

    letter: str
    long: str
    help: str
    """The help text; ``{}`` is replaced with the default."""
    argument: _Argument | None = None
    label: str = ""
    """The name of the argument in the usage line."""
    field: str = ""
    """The field of ``config.options.Options`` that holds the value."""
    unset: str = ""
    """The name of the default in the help text, if the default is empty or 0."""


OPTIONS: Final = (
    Option("h", "help", "show this help and exit"),
    Option("V", "version", "show version and exit"),
    Option("t", "test-conf", "check the configuration file and exit"),
    Option("d", "daemonize", "run in the background", field="daemonize"),
    Option("D", "describe-stats", "describe the statistics and exit"),
    Option(
        "v",
        "verbose",
        f"logging level (default: {{}}, min: 0, max: {_LOG_LEVEL_MAXIMUM})",
        _LOG_LEVEL,
        "logging level",
        "log_level",
    ),
    Option("o", "output", "logging file (default: {})", _FILE, "output file", "log_path", "stderr"),
    Option(
        "c",
        "conf-file",
        f"configuration file (default: {PLACES.local} or {PLACES.packaged})",
        _FILE,
        "conf file",
        "conf_file",
    ),
    Option("s", "stats-port", "port of the statistics (default: {})", _PORT, "stats port", "stats_port"),
    Option(
        "a",
        "stats-addr",
        "address or unix socket path of the statistics (default: {})",
        _STRING,
        "stats addr",
        "stats_addr",
    ),
    Option(
        "i",
        "stats-interval",
        "interval of statistics in the log, and of comparing servers (default: {} msec)",
        _NUMBER,
        "stats interval",
        "stats_interval",
    ),
    Option("p", "pid-file", "file to hold the process id (default: {})", _FILE, "pid file", "pid_file", "off"),
    Option(
        "m",
        "mbuf-size",
        "hint for the size of reads in bytes (default: {} bytes)",
        _MBUF_SIZE,
        "mbuf size",
        "mbuf_size",
    ),
    Option(
        "T",
        "drain-time",
        "time to answer requests in flight after SIGTERM or SIGINT (default: {} sec)",
        _NUMBER,
        "drain time",
        "drain_time",
    ),
    Option(
        "M",
        "max-memory",
        "memory for traffic, as 512mb; above it large requests wait (default: {})",
        _MEMORY,
        "max memory",
        "max_memory",
        "no limit",
    ),
    Option(
        "C",
        "control-socket",
        "unix socket for sub-commands (default: beside the pid file)",
        _FILE,
        "control socket",
        "control_socket",
    ),
    Option(
        "w",
        "workers",
        "processes that serve clients, auto: as many as processors (default: {})",
        _WORKERS,
        "workers",
        "workers",
    ),
    Option("W", "watch", "reload the configuration file when it was changed", field="watch"),
    Option(
        "L",
        "drain-delay",
        "time to go on, but not ready, after SIGTERM or SIGINT (default: {} sec)",
        _NUMBER,
        "drain delay",
        "drain_delay",
        "0",
    ),
    Option(
        "f",
        "log-format",
        "lines of the log: text, or json for one JSON object per line (default: {})",
        _LOG_FORMAT,
        "log format",
        "log_format",
    ),
    Option(
        "P",
        "metrics-compat",
        f"also export metrics as {_COMPAT}_* (default: {{}})",
        _NAMES,
        "metrics compat",
        "metrics_compat",
        "off",
    ),
    Option(
        "A",
        "access-log",
        "file for the requests that 'access_log_sample' of a pool chooses (default: {})",
        _FILE,
        "access log",
        "access_log",
        "stdout",
    ),
)

_by_name: Final = {option.letter: option for option in OPTIONS} | {option.long: option for option in OPTIONS}

_SHORT: Final = "".join(option.letter + (":" if option.argument else "") for option in OPTIONS)
_LONG: Final = [option.long + ("=" if option.argument else "") for option in OPTIONS]


def main(argv: Sequence[str] | None = None, *, native: bool = False) -> int:
    """Run the command; returns the exit status.

    ``argv``: the arguments, by default those of the process. ``native``: whether the process runs the program of
    ``twemproxy.launcher``, not a Python.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments and arguments[0] in commands.NAMES:
        from twemproxy.commands import frame

        return frame.run(arguments, start_options)
    if arguments and arguments[0] == "inherit":
        from twemproxy.supervisor import inherit

        return inherit.check(arguments[1:])
    try:
        given = _parse(arguments)
    except OptionError as error:
        _say(f"nutcracker: {error}")
        _say(_usage())
        return 1
    if "h" in given or "V" in given or "D" in given:
        _say(f"This is nutcracker-{__version__}\nasync event backend: epoll\n")
        if "V" in given and not native:
            _say(f"started by {sys.executable}: tools that look for a program named nutcracker do not find it\n")
        if "h" in given:
            _say(_usage())
        if "D" in given:
            _say(_stats_description())
        return 0
    from twemproxy.config.options import Options

    values = {_by_name[letter].field: value for letter, value in given.items() if _by_name[letter].field}
    try:
        options = Options(**complete(values))
    except NoConfiguration as error:
        _say(f"nutcracker: {error}")
        return 1
    if options.log_path and "o" not in given and "d" not in given and "t" not in given:
        _say(f"nutcracker: the log file is '{options.log_path}', as in Debian's package; use -o for another file")
    if "t" in given:
        return _test_configuration(options)
    from twemproxy.supervisor import early_worker
    from twemproxy.supervisor.processors import processors

    program = early_worker.NATIVE_WORKER if native else early_worker.PYTHON_WORKER
    early = None
    # A daemon is another process, and an upgrade has workers already.
    if not options.daemonize and early_worker.INHERITANCE not in os.environ:
        with suppress(OSError):  # the supervisor tries again, and says why it fails
            early = early_worker.EarlyWorker(program, options.workers or processors())
    # asyncio imports ssl if it can, which takes 4 MB of memory, and the supervisor does not use it.
    sys.modules.setdefault("ssl", None)  # type: ignore[arg-type]
    gc.disable()
    from twemproxy.supervisor.supervisor import run

    # As in ``twemproxy.launcher``.
    gc.freeze()
    gc.enable()
    return run(options, program=program, early=early)


def _say(text: str) -> None:
    if sys.stderr is not None:  # None if the descriptor was closed; print would then use standard output
        print(text, file=sys.stderr)


def _parse(arguments: list[str]) -> dict[str, Any]:
    """Return the values of the given options by letter, True for an option without an argument.

    Of an option that is given more than once, the last value counts. Raises OptionError for the first mistake.
    """
    try:
        found, _ = gnu_getopt(arguments, _SHORT, _LONG)
    except GetoptError as error:
        _parse_before_error(arguments)
        raise OptionError(_mistake(error)) from error
    return _values(found)


def _values(found: list[tuple[str, str]]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, text in found:
        option = _by_name[name.lstrip("-")]
        given[option.letter] = option.argument.parse(option.letter, text) if option.argument else True
    return given


def _parse_before_error(arguments: list[str]) -> None:
    """Parse the longest beginning that getopt accepts: an invalid value in it is the first mistake.

    Raises OptionError for this value.
    """
    for end in range(len(arguments) - 1, 0, -1):
        try:
            found, _ = gnu_getopt(arguments[:end], _SHORT, _LONG)
        except GetoptError:
            continue
        _values(found)
        return


def _mistake(error: GetoptError) -> str:
    """Return the error text for an option that getopt does not accept."""
    is_long = error.msg.startswith("option --")
    option = _by_name.get(error.opt) if len(error.opt) > 1 or not is_long else None
    if option is None:
        return f"invalid option -- '{error.opt}'"
    if option.argument is None:
        return f"invalid option -- '{option.letter}'"
    return f"option -{option.letter} requires {option.argument.requirement}"


def start_options() -> list[commands.StartOption]:
    """Return the options, with the defaults of ``config.options.Options`` in their help texts."""
    from twemproxy.config.options import Options

    defaults = Options(PLACES.local)
    return [
        commands.StartOption(
            option.letter,
            option.long,
            option.help.format(getattr(defaults, option.field) or option.unset) if option.argument else option.help,
            option.label.replace("-", " ") or (option.long.replace("-", " ") if option.argument else ""),
            option.argument is _FILE,
        )
        for option in OPTIONS
    ]


def _usage() -> str:
    """Return the usage text."""
    from textwrap import wrap

    flags = "".join(option.letter for option in OPTIONS if not option.argument)
    words = [f"[-{flags}]", *(f"[-{option.letter} {option.label}]" for option in OPTIONS if option.argument)]
    beginning = "Usage: nutcracker"
    lines = [beginning]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > _USAGE_WIDTH:
            lines.append(" " * len(beginning))
        lines[-1] += " " + word
    lines += ["", "Options:"]
    for option, described in zip(OPTIONS, start_options(), strict=True):
        left = f"  -{option.letter}, --{option.long}"
        if option.argument:
            left += f"={option.argument.symbol}"
        lines.append(f"{left:<{_HELP_COLUMN}}: {described.help}")
    names = ", ".join(command.name for command in commands.SUB_COMMANDS)
    beginning = "Sub-commands: "
    text = f"{beginning}{names} (see nutcracker {commands.HELP})"
    lines += ["", *wrap(text, _USAGE_WIDTH, subsequent_indent=" " * len(beginning)), ""]
    return "\n".join(lines)


def _stats_description() -> str:
    """Return nutcracker's description of its statistics, and after it the metrics that only the full document has."""
    from twemproxy.stats.catalogue import (
        POOL_FIGURES,
        POOL_METRICS,
        PROCESS_FIGURES,
        SERVER_FIGURES,
        SERVER_METRICS,
        Fact,
        Metric,
    )

    def lines(metrics: Sequence[Metric | Fact], added: bool) -> list[str]:
        return [f'  {metric.name:<20}"{metric.help}"' for metric in metrics if metric.added == added]

    described = ["pool stats:", *lines(POOL_METRICS, False), "", "server stats:", *lines(SERVER_METRICS, False)]
    for scope, metrics in (
        ("process", PROCESS_FIGURES),
        ("pool", POOL_FIGURES),
        ("server", SERVER_FIGURES),
    ):
        if added := lines(metrics, True):
            described += ["", f"{scope} stats that only GET /stats.json shows:", *added]
    return "\n".join(described)


def _test_configuration(options: "Options") -> int:
    """Check the configuration file for a start with these options."""
    from twemproxy.config.loading import ConfigError, load
    from twemproxy.config.warnings import notes, warnings, where_access_log_goes
    from twemproxy.supervisor.processors import processors

    path = options.conf_file
    try:
        config = load(path, workers=options.workers or processors())
    except ConfigError as error:
        for line in error.lines():
            _say(f"nutcracker: {line}")
        _say(f"nutcracker: configuration file '{path}' syntax is invalid")
        return 1
    for warning in warnings(config):
        _say(f"nutcracker: warning: {warning}")
    for note in notes(config, where_access_log_goes(options.access_log, options.daemonize)):
        _say(f"nutcracker: note: {note}")
    _say(f"nutcracker: configuration file '{path}' syntax is ok")
    return 0
