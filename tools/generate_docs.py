"""Writes docs/configuration.md from the table of directives: ``python tools/generate_docs.py``.

With ``--check`` nothing is written; the exit status says whether the file is as it would be.
"""

import argparse
import sys
from pathlib import Path

from twemproxy.config.directives import DIRECTIVES, Directive, default
from twemproxy.config.numbers import NUMBER_MAXIMUM

TARGET = Path(__file__).parents[1] / "docs" / "configuration.md"

KINDS = {
    "listen": "[address](#listen)",
    "servers": "[list of servers](#servers)",
    "hash tag": "two characters",
    "string": "string",
    "boolean": "`true` or `false`",
}
"""Values by kind, where the kind says it all."""

UNITS = {"ms": "milliseconds", "": "number"}
"""Numbers by unit, where the unit is no word to count by."""

BEGINNING = """\
<!-- Written by tools/generate_docs.py from src/twemproxy/config/directives.py: change those. -->

# The configuration file

One YAML document: pool names, and under each the directives of that pool. `nutcracker -t -c FILE` checks a file
without running it; a file that cannot be used is reported once, as `file:line:column: reason`.

```yaml
alpha:
  listen: 127.0.0.1:22121
  redis: true
  servers:
    - 127.0.0.1:6379:1
    - 127.0.0.1:6380:1 second
```

conf/nutcracker.yml is a longer sample.

## Directives

| directive | value | default | meaning |
|---|---|---|---|
"""

END = """
Numbers are decimal digits and nothing else, up to {maximum}. Truth values are `true` or `false`, in lower case.
Quotes make no difference: `timeout: "5"` is a number. No name and no value may be empty, and no directive may stand
twice in a pool.

## listen

| form | listens on |
|---|---|
| `host:port` | the first address of the host; the port is what follows the last colon |
| `/path` | a unix stream socket, with the mode that the umask leaves |
| `/path 0660` | the same with this octal mode, at most `0777`; the mode is what follows the last space |

The path has less than 108 bytes. Two pools may not have the same `listen`.

## servers

| form | name without one given |
|---|---|
| `host:port:weight` | `host:port` as written; the host alone when the port is 11211 |
| `/path:weight` | the path and a colon, `/path:` |
| `host:port:weight name`, `/path:weight name` | |

- The name decides, with the weight, which keys a server gets: a server that keeps its name keeps its keys,
  whatever its address is. Names are unique in a pool.
- The weight is a number above 0, relative to the others of the pool.
- A path has neither colons nor, unless a name follows, spaces. IPv6 addresses have no brackets: `::1:6379:1`.
- The order of the list means nothing. Servers, and pools, are sorted by name: shorter ones first, those of equal
  length by bytes.
- Hosts of servers are not looked up when the file is read.

## YAML that may not be used

Flow collections (`[a]`, `{{a: b}}`), anchors, aliases, tags, directives (`%YAML`) and document markers (`---`, `...`).
Exactly one directive of each pool has a list as its value: `servers`.
"""


def value(directive: Directive) -> str:
    """What the directive takes."""
    if directive.choices:
        return ", ".join(f"`{choice}`" for choice in directive.choices)
    if directive.kind == "number":
        text = UNITS.get(directive.unit, f"number of {directive.unit}")
        return f"{text}, at least {directive.minimum}" if directive.minimum else text
    return KINDS[directive.kind]


def shown_default(directive: Directive) -> str:
    """The default as the file would say it."""
    if directive.required:
        return "required"
    given = default(directive)
    if isinstance(given, bool):
        return f"`{str(given).lower()}`"
    return f"`{given}`" if given not in ("", ()) else "unset"


def meaning(directive: Directive) -> str:
    """The help with what it does in the other protocol's pools."""
    notes = {
        "any": "",
        "redis": " Ignored unless the pool speaks redis.",
        "redis only": " Only a pool that speaks redis may have it.",
        "memcached only": " Only a pool that speaks memcached may have it.",
    }
    return directive.help + notes[directive.protocol]


def document() -> str:
    """The whole of docs/configuration.md."""
    rows = (
        f"| `{directive.name}` | {value(directive)} | {shown_default(directive)} | {meaning(directive)} |\n"
        for directive in DIRECTIVES
    )
    return BEGINNING + "".join(rows) + END.format(maximum=NUMBER_MAXIMUM)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when the file is stale")
    if parser.parse_args().check:
        fresh = TARGET.exists() and TARGET.read_text() == document()
        print(f"{TARGET.name} is {'fresh' if fresh else 'stale: run tools/generate_docs.py'}", file=sys.stderr)
        return 0 if fresh else 1
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(document())
    return 0


if __name__ == "__main__":
    sys.exit(main())
