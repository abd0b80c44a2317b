"""The rows of docs/differences.md that come from the table of ``nutcracker doctor``."""

from twemproxy.commands.switching import DIFFERENCES

MARK = " <!-- from commands/switching.py -->"
"""The end of a row that comes from the table."""
RULE = "|---|---|"


def differences(text: str) -> str:
    """The text of docs/differences.md with these rows replaced: they are the first ones of their sections."""
    left = [line for line in text.splitlines() if not line.endswith(f"{MARK} |")]
    for section in {difference.section: None for difference in DIFFERENCES}:
        rule = left.index(RULE, left.index(f"## {section}"))
        left[rule + 1 : rule + 1] = [
            f"| {difference.original} | {difference.here}{MARK} |"
            for difference in DIFFERENCES
            if difference.section == section
        ]
    return "\n".join(left) + "\n"
