"""What docs/differences.md has from tables: the rows that ``nutcracker doctor`` uses, and the new directives."""

import textwrap

from twemproxy.commands.switching import DIFFERENCES
from twemproxy.config.directives import DIRECTIVES

MARK = " <!-- from commands/switching.py -->"
"""The end of a row that comes from the table."""
RULE = "|---|---|"

NEW = "New directives: "
"""The beginning of the paragraph with the directives that nutcracker lacks."""
ORIGINAL = (
    *("listen", "servers", "hash", "hash_tag", "distribution", "timeout", "backlog", "client_connections", "redis"),
    *("redis_auth", "redis_db", "preconnect", "auto_eject_hosts", "server_connections", "server_retry_timeout"),
    *("server_failure_limit", "tcpkeepalive", "reuseport"),
)
"""The directives of nutcracker, with one of later versions."""


def differences(text: str) -> str:
    """The text of docs/differences.md with these parts replaced; the rows are the first ones of their sections."""
    before, _, rest = text.partition(f"\n\n{NEW}")
    _, _, after = rest.partition("\n\n")
    names = sorted(f"`{directive.name}`" for directive in DIRECTIVES if directive.name not in ORIGINAL)
    paragraph = textwrap.fill(f"{NEW}{', '.join(names)}.", 120)
    left = f"{before}\n\n{paragraph}\n\n{after}".splitlines()
    left = [line for line in left if not line.endswith(f"{MARK} |")]
    for section in {difference.section: None for difference in DIFFERENCES}:
        rule = left.index(RULE, left.index(f"## {section}"))
        left[rule + 1 : rule + 1] = [
            f"| {difference.original} | {difference.here}{MARK} |"
            for difference in DIFFERENCES
            if difference.section == section
        ]
    return "\n".join(left) + "\n"
