"""``nutcracker completion``: the completion of the command line for a shell, made from the tables of options."""

import argparse

from twemproxy.commands.completion_scripts import bash, fish, zsh
from twemproxy.commands.frame import CommandError, print_json
from twemproxy.commands.grammar import grammar_of

DESCRIPTION = """\
Write the completion of the command line for a shell: bash, zsh or fish. The script of bash goes to
/etc/bash_completion.d/nutcracker, that of zsh to a file _nutcracker in a folder of $fpath, that of fish to
~/.config/fish/completions/nutcracker.fish.
"""

SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
"""The functions that return the script for a shell."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", help=", ".join(SHELLS))


def run(options: argparse.Namespace) -> int:
    if options.shell not in SHELLS:
        raise CommandError(f"there is no completion for '{options.shell}': the shells are {', '.join(SHELLS)}")
    script = SHELLS[options.shell](grammar_of(options.start_options()))
    if options.json:
        print_json({"shell": options.shell, "script": script})
    else:
        print(script, end="")
    return 0
