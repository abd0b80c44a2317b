"""The parts of the documents that come from the options, the sub-commands, and the levels and fields of the log."""

from collections.abc import Mapping

from twemproxy.cli import OPTIONS, Option
from twemproxy.commands import SUB_COMMANDS, SubCommand
from twemproxy.commands.frame import parser_of
from twemproxy.config.files import PLACES
from twemproxy.config.options import Options
from twemproxy.log import FIELDS, LEVELS
from twemproxy.proxy import access_line

COMMAND_LINE_BEGINNING = """\
<!-- Written by tools/generate_docs.py from src/twemproxy/cli.py and src/twemproxy/commands: change those. -->

# The command line

`nutcracker` with options starts the proxy; `nutcracker` with the name of a sub-command looks at a file or at a running
proxy. `nutcracker -h` lists the options, `nutcracker help NAME` explains a sub-command.

## Options of the proxy

Short options can be combined (`-dv6`), long options can be abbreviated, and the last value of an option counts. A wrong
option is an error, and the exit status is 1. Options keep their values until the end of the process, an upgrade
included; a reload reads only the configuration file.

| option | value | meaning |
|---|---|---|
"""

SUB_COMMANDS_BEGINNING = """
## Sub-commands

Results go to standard output, errors to standard error. With `--json` the result is one JSON document.
"""

LEVEL_MEANINGS = {
    "ALERT": "a worker has died; another one starts",
    "CRIT": "a process lacks its supervisor, or a message is invalid",
    "ERR": "something that was asked for failed: a reload, an upgrade, the reopening of the log",
    "WARN": "failed requests, closed connections, clients that exceed a limit, servers with more than their share",
    "NOTICE": "start and end, reloads, ejections and returns of servers",
    "INFO": "each client and each server connection",
    "DEBUG": "a line of totals every `--stats-interval`",
}
"""What is logged at a level; nothing is logged at the others."""


def escaped(text: str) -> str:
    """A text for a cell of a table."""
    return text.replace("|", r"\|")


def option_row(option: Option) -> str:
    """The row of an option of the proxy."""
    shown = getattr(Options(PLACES.local), option.field) or option.unset if option.argument else ""
    argument = option.argument.requirement.removeprefix("a ") if option.argument else ""
    return f"| `-{option.letter}`, `--{option.long}` | {argument} | {escaped(option.help.format(shown))} |\n"


def sub_command(command: SubCommand) -> str:
    """The section of a sub-command."""
    parser = parser_of(command)
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split()).replace("[-h] ", "")
    rows = []
    for action in parser._actions:
        if action.dest != "help":
            names = action.option_strings or [str(action.metavar or action.dest.upper())]
            value = (
                "" if not action.option_strings or action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
            )
            text = " ".join((action.help or "").split()).replace("%(default)s", str(action.default))
            left = ", ".join(f"`{name}{value}`" for name in names)
            rows.append(f"| {escaped(left)} | {escaped(text)} |\n")
    statuses = "".join(f"| {status} | {meaning} |\n" for status, meaning in command.statuses)
    return (
        f"\n### {command.name}\n\n    {usage}\n\n{parser.description or ''}\n| argument | meaning |\n|---|---|\n"
        + "".join(rows)
        + f"\n| exit status | meaning |\n|---|---|\n{statuses}"
    )


def command_line() -> str:
    """The text of docs/command-line.md."""
    options = "".join(map(option_row, OPTIONS))
    return COMMAND_LINE_BEGINNING + options + SUB_COMMANDS_BEGINNING + "".join(map(sub_command, SUB_COMMANDS))


def levels_of_logs() -> str:
    """The table of levels in docs/logs.md."""
    rows = [f"| {number} | {name} | {LEVEL_MEANINGS.get(name, '')} |" for number, (name, _) in enumerate(LEVELS)]
    return "\n".join(["| level | name | what |", "|---|---|---|", *rows])


def fields_of_logs() -> str:
    """The table of fields in docs/logs.md."""
    return _fields(FIELDS)


def fields_of_access_log() -> str:
    """The table of fields in docs/access-log.md."""
    return _fields(access_line.FIELDS)


def _fields(meanings: Mapping[str, str]) -> str:
    return "\n".join(
        ["| field | meaning |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in meanings.items())]
    )
