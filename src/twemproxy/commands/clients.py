"""``nutcracker clients``: the clients of a running proxy."""

import argparse
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from twemproxy.commands.control import add_option, ask_for
from twemproxy.commands.frame import CommandError, print_json
from twemproxy.commands.texts import table
from twemproxy.config.numbers import parse_number
from twemproxy.ipc.control import Clients, ClientState, KillClient, Killed, ListClients

DESCRIPTION = """\
Show the clients of a running proxy, those of all workers, or close one of them. The fields are those of redis's CLIENT
LIST, with the pool and the number of the worker; clients of memcached pools have them, too. --json shows all fields.
"""

COLUMNS = {
    "pool": "pool",
    "id": "id",
    "addr": "address",
    "worker": "worker",
    "name": "name",
    "age": "age",
    "idle": "idle",
    "flags": "flags",
    "db": "db",
    "cmd": "command",
    "qbuf": "input",
    "omem": "output",
    "lib-name": "library",
}
"""The fields that people see, and their titles."""
NUMBERS = ("id", "worker", "age", "idle", "db", "qbuf", "omem")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pool", metavar="POOL", default="", help="only of this pool")
    parser.add_argument(
        "--filter",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="only those with this value of a field, which may have * and ?; several filters must all fit",
    )
    parser.add_argument("--kill", metavar="ID", help="close the client with this number instead")
    add_option(parser)


def run(options: argparse.Namespace) -> int:
    if options.kill is not None:
        return _kill(options)
    filters = [_parse_filter(text) for text in options.filter]
    answer = ask_for(options.control_socket, ListClients(options.pool), Clients)
    documents = [document(client) for client in answer.clients]
    found = [one for one in documents if all(fnmatchcase(str(one.get(name, "")), value) for name, value in filters)]
    if options.json:
        print_json({"clients": found, "silent_workers": answer.silent})
    else:
        print(table(list(COLUMNS.values()), [_row(one) for one in found]))
    check_silent(answer)
    return 0


def document(client: ClientState) -> dict[str, Any]:
    """Return all fields of a client, with its pool and worker."""
    return {"pool": client.pool, "worker": client.worker, **client.fields}


def check_silent(answer: Clients) -> None:
    """Raise CommandError if clients are missing because a worker does not answer."""
    if answer.silent:
        workers = ", ".join(map(str, answer.silent))
        raise CommandError(f"the clients of worker {workers} are missing: it does not answer")


def _kill(options: argparse.Namespace) -> int:
    number = parse_number(options.kill)
    if number is None or options.filter:
        raise CommandError("--kill needs the number of a client, and goes with no --filter")
    ask_for(options.control_socket, KillClient(number, options.pool), Killed)
    if options.json:
        print_json({"killed": number})
    else:
        print(f"client {number} is closed")
    return 0


def _parse_filter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise CommandError(f"--filter needs FIELD=VALUE: '{text}'")
    # The titles that people see are fields, too.
    fields = {title: field for field, title in COLUMNS.items()}
    return fields.get(name, name), value


def _row(client: dict[str, Any]) -> Sequence[str | int]:
    return [int(client[name]) if name in NUMBERS else str(client[name]) for name in COLUMNS]
