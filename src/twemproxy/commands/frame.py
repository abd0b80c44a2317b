"""Runs a sub-command: its options, its help, its errors.

The module of a sub-command has ``DESCRIPTION`` (the text of its help), ``add_arguments(parser)`` and ``run(options)``,
which returns the exit status. It writes results to standard output, for people or with ``--json`` for programs, and
raises CommandError for an error.
"""

import argparse
import importlib
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, Protocol, cast

from twemproxy.commands import HELP, SUB_COMMANDS, StartOption, SubCommand

ERROR_STATUS: Final = 1


class CommandError(Exception):
    """The sub-command cannot do its work. The text has one or more lines, each a reason for people."""


class _Module(Protocol):
    """The module of a sub-command."""

    DESCRIPTION: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of the sub-command; ``--json`` is already there."""

    def run(self, options: argparse.Namespace) -> int:
        """Do the work, and return the exit status. Raises CommandError."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors have the exit status ERROR_STATUS."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ERROR_STATUS, f"{self.prog}: {message}\n")


def run(arguments: Sequence[str], start_options: Callable[[], Sequence[StartOption]] = tuple) -> int:
    """Run the sub-command that the first argument names, one of ``commands.NAMES``. Returns the exit status.

    ``start_options``: returns the options of a start of the proxy, which a sub-command gets in its options under this
    name.
    """
    name, *rest = arguments
    if name == HELP:
        if not rest:
            print(_overview())
            return 0
        name, rest = rest[0], ["--help"]
    command = next((command for command in SUB_COMMANDS if command.name == name), None)
    if command is None:
        _complain(f"nutcracker {HELP}: there is no sub-command '{name}'; nutcracker {HELP} lists them")
        return ERROR_STATUS
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names may have characters that the locale lacks
    module = _module(command)
    try:
        return _run(command, module, rest, start_options)
    except OSError as error:
        # Without this, Python would try to write the rest at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # otherwise the reader of the output has what it wants
            _complain(f"nutcracker {name}: the output cannot be written: {error.strerror}")
        return ERROR_STATUS


def print_json(document: Any) -> None:
    """Write a document, made of builtin types, to standard output."""
    print(json.dumps(document, indent=2))


def parser_of(command: SubCommand) -> argparse.ArgumentParser:
    """Return the parser of a sub-command's command line."""
    module = _module(command)
    parser = _Parser(
        prog=f"nutcracker {command.name}",
        description=module.DESCRIPTION,
        epilog="\n".join(["exit status:", *(f"  {status}  {meaning}" for status, meaning in command.statuses)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="write the result as a JSON document")
    module.add_arguments(parser)
    return parser


def _module(command: SubCommand) -> _Module:
    return cast(_Module, importlib.import_module(f"twemproxy.commands.{command.name}"))


def _run(
    command: SubCommand,
    module: _Module,
    arguments: Sequence[str],
    start_options: Callable[[], Sequence[StartOption]],
) -> int:
    parser = parser_of(command)
    parser.set_defaults(start_options=start_options)
    try:
        status = module.run(parser.parse_args(arguments))
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except SystemExit as end:  # by the parser, after the help or an error
        return int(end.code or 0)
    except CommandError as error:
        for line in str(error).split("\n"):
            _complain(f"{parser.prog}: {line}")
        return ERROR_STATUS


def _complain(text: str) -> None:
    if sys.stderr is not None:
        print(text, file=sys.stderr)


def _overview() -> str:
    width = max(len(command.name) for command in SUB_COMMANDS)
    lines = ["Usage: nutcracker SUBCOMMAND ...", "", "Sub-commands:"]
    lines += [f"  {command.name:<{width}}  {command.help}" for command in SUB_COMMANDS]
    lines += ["", f"nutcracker {HELP} SUBCOMMAND explains one; nutcracker -h explains the start of the proxy."]
    return "\n".join(lines)
