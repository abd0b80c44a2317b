"""Writes command_info.json: the descriptions that running redis and valkey servers give of their own commands.

    python tools/generate_command_info.py 127.0.0.1:6379 127.0.0.1:6380 [--output FILE]

The file is the union of these descriptions. If servers disagree, the later address wins, except that the arity becomes
the more permissive one. Commands of newer servers are in the tables ``NEWER`` and ``NEWER_SUBCOMMANDS``; if a server
knows such a command, its description replaces the row. ``FIRST_IN_REDIS`` has the version of redis for commands for
which valkey has a later version.
"""

import argparse
import json
import socket
from pathlib import Path
from typing import Any, BinaryIO

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "src/twemproxy/protocol/redis/command_info.json"

Info = dict[str, Any]

NEWER = (
    # name, arity, flags, keys, group, since, summary
    ("arcount", 2, "readonly fast", "1", "array", "8.8.0", "Counts the elements of an array that are set."),
    ("ardel", -3, "write fast", "1", "array", "8.8.0", "Deletes elements of an array by index."),
    ("ardelrange", -4, "write", "1", "array", "8.8.0", "Deletes ranges of elements of an array."),
    ("arget", 3, "readonly fast", "1", "array", "8.8.0", "Returns an element of an array by index."),
    ("argetrange", 4, "readonly", "1", "array", "8.8.0", "Returns a range of elements of an array."),
    ("argrep", -4, "readonly", "1", "array", "8.8.0", "Searches the elements of an array for patterns."),
    ("arinfo", -2, "readonly", "1", "array", "8.8.0", "Returns metadata of an array."),
    (
        "arinsert",
        -3,
        "write denyoom fast",
        "1",
        "array",
        "8.8.0",
        "Inserts values at the cursor of an array.",
    ),
    ("arlastitems", -3, "readonly", "1", "array", "8.8.0", "Returns the elements of an array inserted last."),
    ("arlen", 2, "readonly fast", "1", "array", "8.8.0", "Returns the highest index of an array plus one."),
    ("armget", -3, "readonly fast", "1", "array", "8.8.0", "Returns elements of an array by index."),
    ("armset", -4, "write denyoom fast", "1", "array", "8.8.0", "Sets elements of an array by index."),
    ("arnext", 2, "readonly fast", "1", "array", "8.8.0", "Returns the index of the cursor of an array."),
    ("arop", -5, "readonly", "1", "array", "8.8.0", "Aggregates a range of elements of an array."),
    ("arring", -4, "write denyoom", "1", "array", "8.8.0", "Inserts values into an array used as a ring."),
    ("arscan", -4, "readonly", "1", "array", "8.8.0", "Returns set elements of a range with their indices."),
    ("arseek", 3, "write fast", "1", "array", "8.8.0", "Moves the cursor of an array."),
    ("arset", -4, "write denyoom fast", "1", "array", "8.8.0", "Sets consecutive elements of an array."),
    ("backup", -2, "", "", "server", "8.10.0", "A container for backup commands."),
    ("blmovem", -6, "write denyoom blocking", "1 2", "list", "8.10.0", "Waits for elements and moves them."),
    ("delex", -2, "write fast", "1", "string", "8.4.0", "Deletes a key if its value or digest matches."),
    ("digest", 2, "readonly fast", "1", "string", "8.4.0", "Returns the digest of a string."),
    (
        "himport",
        -2,
        "",
        "",
        "hash",
        "8.10.0",
        "A container for bulk import of hashes that share their fields.",
    ),
    ("hotkeys", -2, "", "", "server", "8.6.0", "A container for commands that track hot keys."),
    (
        "increx",
        -2,
        "write denyoom fast",
        "1",
        "string",
        "8.8.0",
        "Increments within bounds, sets the expiration.",
    ),
    ("lmovem", -5, "write denyoom", "1 2", "list", "8.10.0", "Moves elements from one list to another."),
    ("sdiffcard", -3, "readonly", "numkeys", "set", "8.10.0", "Counts the difference of sets."),
    ("sunioncard", -3, "readonly", "numkeys", "set", "8.10.0", "Counts the union of sets."),
    (
        "vadd",
        -5,
        "write denyoom",
        "1",
        "vector_set",
        "8.0.0",
        "Adds an element to a vector set, or updates it.",
    ),
    ("vcard", 2, "readonly fast", "1", "vector_set", "8.0.0", "Counts the elements of a vector set."),
    ("vdim", 2, "readonly fast", "1", "vector_set", "8.0.0", "Returns the dimension of a vector set."),
    ("vemb", -3, "readonly fast", "1", "vector_set", "8.0.0", "Returns the vector of an element."),
    ("vgetattr", 3, "readonly fast", "1", "vector_set", "8.0.0", "Returns the attributes of an element."),
    ("vinfo", 2, "readonly fast", "1", "vector_set", "8.0.0", "Returns metadata of a vector set."),
    ("vismember", 3, "readonly", "1", "vector_set", "8.0.0", "Tells whether an element is in a vector set."),
    ("vlinks", -3, "readonly fast", "1", "vector_set", "8.0.0", "Returns the neighbours of an element."),
    ("vrandmember", -2, "readonly", "1", "vector_set", "8.0.0", "Returns random elements of a vector set."),
    ("vrange", -4, "readonly", "1", "vector_set", "8.4.0", "Returns elements in a lexicographical range."),
    ("vrem", 3, "write", "1", "vector_set", "8.0.0", "Removes an element from a vector set."),
    ("vsetattr", 4, "write fast", "1", "vector_set", "8.0.0", "Sets the attributes of an element."),
    ("vsim", -4, "readonly", "1", "vector_set", "8.0.0", "Returns elements by similarity."),
    ("xackdel", -6, "write fast", "1", "stream", "8.2.0", "Acknowledges messages and deletes them."),
    ("xcfgset", -2, "write fast", "1", "stream", "8.6.0", "Configures a stream's idempotent production."),
    ("xdelex", -5, "write fast", "1", "stream", "8.2.0", "Deletes messages, as consumer groups allow."),
    ("xnack", -7, "write fast", "1", "stream", "8.8.0", "Gives pending messages back to their group."),
)
"""Commands of redis 8.0 to 8.10, from the command pages of redis.io. Keys: argument indices, or ``numkeys`` for keys
that follow their number at argument 1."""

NEWER_SUBCOMMANDS = (
    # container, name, arity, group, since, summary
    ("client", "maint_notifications", -3, "connection", "", "Controls messages about the maintenance of servers."),
    ("cluster", "migration", -4, "cluster", "8.4.0", "Starts, monitors and cancels the migration of slots."),
)
"""As ``NEWER``, for sub-commands without keys; without a version: only Redis Software has it."""

FIRST_IN_REDIS = {
    "7.4.0": "hexpire hexpireat hexpiretime hpersist hpexpire hpexpireat hpexpiretime hpttl httl",
    "8.0.0": "hgetdel hgetex hsetex",
    "8.4.0": "msetex",
}
"""Commands that valkey adopted from a redis newer than the servers asked, by the version that introduced them.

Source: the command pages of redis.io.
"""


def read_reply(stream: BinaryIO) -> Any:
    """The next reply of a RESP2 stream; an error reply raises RuntimeError."""
    line = stream.readline()[:-2].decode()
    kind, rest = line[:1], line[1:]
    if kind == "+":
        return rest
    if kind == ":":
        return int(rest)
    if kind == "$":
        return stream.read(int(rest) + 2)[:-2].decode()
    if kind == "*":
        return [read_reply(stream) for _ in range(int(rest))]
    raise RuntimeError(line or "connection closed")


def ask(address: str, request: str) -> Any:
    """A server's reply to one inline request, as nested lists of text and numbers."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port))) as connection, connection.makefile("rb") as stream:
        connection.sendall(request.encode() + b"\r\n")
        return read_reply(stream)


def pairs(flat: list[Any]) -> Info:
    """A map, which RESP2 sends as an array of alternating names and values."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def key_spec(reply: list[Any]) -> Info:
    """One key specification; each of its two steps is flattened to a kind and its numbers."""
    spec = pairs(reply)
    begin = pairs(spec["begin_search"])
    find = pairs(spec["find_keys"])
    flat: Info = {
        "flags": spec["flags"],
        "begin_search": [begin["type"], *begin["spec"][1::2]],
        "find_keys": [find["type"], *find["spec"][1::2]],
    }
    if "notes" in spec:
        flat["notes"] = spec["notes"]
    return flat


def command_info(reply: list[Any], docs: Info) -> Info:
    """One command, from its entries in the replies to COMMAND and COMMAND DOCS."""
    _, arity, flags, first, last, step, categories, tips, key_specs, subcommands = reply
    own = pairs(docs.get(reply[0], []))
    info: Info = {
        "summary": own.get("summary", ""),
        "since": own.get("since", ""),
        "group": own.get("group", ""),
        "complexity": own.get("complexity", ""),
        "doc_flags": own.get("doc_flags", []),
        "deprecated_since": own.get("deprecated_since", ""),
        "replaced_by": own.get("replaced_by", ""),
        "arity": arity,
        "flags": flags,
        "keys": [first, last, step],
        "categories": categories,
        "tips": tips,
        "key_specs": [key_spec(spec) for spec in key_specs],
    }
    if subcommands:
        nested = pairs(own.get("subcommands", []))
        info["subcommands"] = {sub[0]: command_info(sub, nested) for sub in subcommands}
    return info


def commands_of(address: str) -> dict[str, Info]:
    """Every command of a server, including those of modules."""
    docs = pairs(ask(address, "COMMAND DOCS"))
    return {reply[0]: command_info(reply, docs) for reply in ask(address, "COMMAND")}


def newer_commands() -> dict[str, Info]:
    """The commands of ``NEWER``, in the format of the file."""
    table: dict[str, Info] = {}
    for name, arity, flags, keys, group, since, summary in NEWER:
        access = ["RO", "access"] if "readonly" in flags else ["RW", "access", "update"]
        counted = keys == "numkeys"
        positions = [] if counted else [int(position) for position in keys.split()]
        kind = ["@read"] if "readonly" in flags else ["@write"] if "write" in flags else []
        specs: list[Info] = [
            {"flags": access, "begin_search": ["index", position], "find_keys": ["range", 0, 1, 0]}
            for position in positions
        ]
        if counted:
            specs = [{"flags": access, "begin_search": ["index", 1], "find_keys": ["keynum", 0, 1, 1]}]
        table[name] = {
            "summary": summary,
            "since": since,
            "group": group,
            "arity": arity,
            "flags": [*flags.split(), *(["movablekeys"] if counted else [])],
            "keys": [positions[0], positions[-1], 1] if positions else [0, 0, 0],
            "categories": [*kind, f"@{group.replace('_', '')}", "@fast" if "fast" in flags else "@slow"],
            "key_specs": specs,
        }
    return table


def newer_subcommands() -> dict[str, Info]:
    """The containers of ``NEWER_SUBCOMMANDS``, in the format of the file, with these sub-commands only."""
    table: dict[str, Info] = {}
    for container, name, arity, group, since, summary in NEWER_SUBCOMMANDS:
        subcommands = table.setdefault(container, {"subcommands": {}})["subcommands"]
        subcommands[f"{container}|{name}"] = {
            "summary": summary,
            "since": since,
            "group": group,
            "arity": arity,
            "keys": [0, 0, 0],
            "categories": ["@slow"],
        }
    return table


def date_by_redis(table: dict[str, Info]) -> None:
    """Give the commands of ``FIRST_IN_REDIS`` the version of redis that introduced them."""
    for since, names in FIRST_IN_REDIS.items():
        for name in names.split():
            table[name]["since"] = since


def more_permissive(one: int, other: int) -> int:
    """The arity that admits every number of arguments that either of the two admits."""
    return one if one == other else -min(abs(one), abs(other))


def merge(older: dict[str, Info], newer: dict[str, Info]) -> dict[str, Info]:
    """The union of two tables; ``newer`` wins, except for the arity."""
    merged = dict(older)
    for name, info in newer.items():
        if name in older:
            before = older[name]
            info = info | {"arity": more_permissive(before["arity"], info["arity"])}
            if "subcommands" in before or "subcommands" in info:
                info["subcommands"] = merge(before.get("subcommands", {}), info.get("subcommands", {}))
        merged[name] = info
    return merged


def text_of(table: dict[str, Info]) -> str:
    """The text of the file: sorted, one command per line, without empty values."""

    def compact(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: compact(value[key]) for key in value if value[key] not in ("", [], {})}
        return [compact(item) for item in value] if isinstance(value, list) else value

    lines = []
    for name in sorted(table):
        info = compact(table[name])
        if "subcommands" in info:
            info["subcommands"] = dict(sorted(info["subcommands"].items()))
        lines.append(f"{json.dumps(name)}:{json.dumps(info, separators=(',', ':'), ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    """Ask the servers, merge their replies, and write the file."""
    parser = argparse.ArgumentParser(description="Write what servers say about their own commands.")
    parser.add_argument("addresses", nargs="+", metavar="HOST:PORT", help="a running server")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="default: the file in the package")
    arguments = parser.parse_args()
    known: dict[str, Info] = {}
    for address in arguments.addresses:
        known = merge(known, commands_of(address))
    for container, info in newer_subcommands().items():
        known[container]["subcommands"] = info["subcommands"] | known[container]["subcommands"]
    date_by_redis(known)
    arguments.output.write_text(text_of(newer_commands() | known))


if __name__ == "__main__":
    main()
