"""The text of docs/man/nutcracker.1, from the tables of the command line."""

from collections.abc import Iterable, Iterator

from twemproxy import __version__
from twemproxy.cli import start_options
from twemproxy.commands.grammar import Command, Option, grammar_of
from twemproxy.config.files import PLACES

SIGNALS = (
    ("SIGTERM, SIGINT", "stop: requests in flight get their replies; a second signal ends that"),
    ("SIGHUP", "open the log file anew, after a rotation"),
    ("SIGUSR1", "reload the configuration file"),
    ("SIGUSR2", "upgrade to the version of the program that is installed now"),
    ("SIGTTIN, SIGTTOU", "raise, lower the log level by one"),
)

FILES = (
    (PLACES.local, "the configuration, if it is in the working directory"),
    (PLACES.packaged, "the configuration otherwise"),
    (PLACES.control, "the control socket that sub-commands use"),
)


def man_page() -> str:
    """The text of docs/man/nutcracker.1."""
    grammar = grammar_of(start_options())
    lines = [
        '.\\" Written by tools/generate_docs.py from the tables of the command line: change those.',
        f'.TH NUTCRACKER 1 "" "twemproxy {__version__}" "User Commands"',
        ".SH NAME",
        "nutcracker \\- proxy for redis and memcached that spreads keys over many servers",
        ".SH SYNOPSIS",
        ".B nutcracker",
        "[\\fIoptions\\fR]",
        ".br",
        ".B nutcracker",
        "\\fIsub-command\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]",
        ".SH DESCRIPTION",
        _roff(
            "A command line that begins with the name of a sub-command is about a configuration file or a running"
            " proxy. Any other one starts the proxy. Clients see one server of redis or memcached for each pool of the"
            " configuration file."
        ),
        ".SH OPTIONS OF A START",
        *_definitions(grammar.start.options),
        ".SH SUB-COMMANDS",
        _roff("Each has --help, and --json for programs. Those about a running proxy use its control socket."),
    ]
    for command in grammar.commands:
        lines += [f".SS {_roff(command.name)}", _roff(_usage(command)), ".PP", _roff(command.description)]
        lines += _definitions(option for option in command.options if "--help" not in option.names)
        if command.statuses:
            lines += [".PP", "Exit status:"]
            for status, meaning in command.statuses:
                lines += [".TP", str(status), _roff(meaning)]
    lines += [".SH SIGNALS", *_table(SIGNALS), ".SH FILES", *_table(FILES), ".SH EXIT STATUS OF A START"]
    lines += _table((str(status), meaning) for status, meaning in grammar.start.statuses)
    return "\n".join(lines) + "\n"


def _usage(command: Command) -> str:
    options = ["[options]"] if command.options else []
    return " ".join([command.name, *options, *command.arguments])


def _definitions(options: Iterable[Option]) -> Iterator[str]:
    for option in options:
        names = ", ".join(f"\\fB{_roff(name)}\\fR" for name in option.names)
        yield ".TP"
        yield f"{names} \\fI{_roff(option.argument)}\\fR" if option.argument else names
        yield _roff(option.help)


def _table(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, text in rows:
        yield from (".TP", _roff(name), _roff(text))


def _roff(text: str) -> str:
    """A line of text as roff reads it."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped
