"""Which commands the clients of a pool can use, by its directives ``allow_commands`` and ``deny_commands``."""

from array import array
from functools import lru_cache
from typing import Final

from twemproxy.protocol.redis.command_reply import Available
from twemproxy.protocol.redis.commands import COMMANDS, REFUSED_CONTAINERS, SUBCOMMANDS, Routing, routing_table
from twemproxy.protocol.redis.errors import DENIED, NOT_ALLOWED

MOST_KEPT: Final = 64
"""Combinations of the directives whose tables are kept."""


def permission_refusal(name: str, needed: bool, permitted: frozenset[str], denied: frozenset[str]) -> str:
    """Why a pool's configuration refuses a command, or a sub-command by its full name; empty if it does not.

    ``needed``: whether the command is available only with permission. ``permitted``, ``denied``: names of commands and
    sub-commands.
    """
    container = name.split("|")[0]
    if name in denied or container in denied:
        return DENIED.format(name=name)
    if needed and name not in permitted and container not in permitted:
        return NOT_ALLOWED.format(name=name)
    return ""


@lru_cache(maxsize=MOST_KEPT)
def usable_commands(permitted: frozenset[str], denied: frozenset[str]) -> "tuple[array[int], Available]":
    """The routing of each command, by row, for compiled code, and the commands that clients can use.

    ``permitted``, ``denied``: see ``permission_refusal``. All codecs with these permissions share both results, so they
    never change.
    """
    available: list[str] = []
    routing = routing_table()
    for row, command in enumerate(COMMANDS):
        if permission_refusal(command.name, command.permission, permitted, denied):
            routing[row] = Routing.REFUSED
        elif routing[row] != Routing.REFUSED and command.name not in REFUSED_CONTAINERS:
            available.append(command.name)
    refused = [name for name, sub in SUBCOMMANDS.items() if permission_refusal(name, sub.permission, permitted, denied)]
    return routing, Available(tuple(available), frozenset(refused))
