"""The command line of ``nutcracker`` as data, for completion and the manual page."""

import argparse
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from twemproxy.commands import HELP, SUB_COMMANDS, StartOption
from twemproxy.commands.frame import parser_of

PATHS = ("FILE", "PATH", "OLD", "NEW")
"""The names of arguments that are paths."""


class Option(NamedTuple):
    """An option."""

    names: tuple[str, ...]
    """With their dashes, the short one first."""
    help: str
    argument: str
    """The name of its argument, empty if it has none."""
    is_path: bool
    """Whether the argument is a path."""


class Command(NamedTuple):
    """A sub-command, or with an empty name a start of the proxy."""

    name: str
    help: str
    description: str
    """One or more sentences."""
    options: tuple[Option, ...]
    arguments: tuple[str, ...]
    """The names of the arguments that are no options."""
    words: tuple[str, ...]
    """What these arguments can be, empty if they are not words of a table."""
    takes_path: bool
    """Whether one of these arguments is a path."""
    statuses: tuple[tuple[int, str], ...]
    """Exit statuses and their meanings."""


class Grammar(NamedTuple):
    """The whole command line."""

    start: Command
    commands: tuple[Command, ...]


def grammar_of(start_options: Iterable[StartOption]) -> Grammar:
    """Return the command line. ``start_options``: those of a start of the proxy."""
    options = tuple(
        Option((f"-{option.letter}", f"--{option.long}"), option.help, option.argument, option.is_path)
        for option in start_options
    )
    start = Command("", "start the proxy", "", options, (), (), False, ((0, "the proxy has stopped"), (1, "an error")))
    names = tuple(command.name for command in SUB_COMMANDS)
    commands = []
    for command in SUB_COMMANDS:
        parser = parser_of(command)
        places = [action for action in _actions(parser) if not action.option_strings]
        arguments = tuple(str(action.metavar) for action in places)
        commands.append(
            Command(
                name=command.name,
                help=command.help,
                description=" ".join((parser.description or "").split()),
                options=tuple(_option(action) for action in _actions(parser) if action.option_strings),
                arguments=tuple(_shown(action) for action in places),
                words=("bash", "zsh", "fish") if "SHELL" in arguments else (),
                takes_path=any(name in PATHS for name in arguments),
                statuses=command.statuses,
            )
        )
    text = "explain the sub-commands, or one of them"
    commands.append(Command(HELP, text, text.capitalize() + ".", (), ("[SUBCOMMAND]",), names, False, ()))
    return Grammar(start, tuple(commands))


def _actions(parser: argparse.ArgumentParser) -> Sequence[argparse.Action]:
    return parser._actions  # argparse has no public way to them


def _option(action: argparse.Action) -> Option:
    takes = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
    text = (action.help or "") % {"default": action.default, "prog": "nutcracker"}
    return Option(tuple(sorted(action.option_strings, key=len)), text, takes, takes in PATHS)


def _shown(action: argparse.Action) -> str:
    """Return an argument as a usage line shows it."""
    name = str(action.metavar)
    return {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} ..."}.get(str(action.nargs), name)
