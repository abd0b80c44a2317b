"""Numbers as the configuration file and the command line write them: ASCII digits and nothing else."""

from typing import Final

NUMBER_MAXIMUM: Final = 2**31 - 1
"""Largest number that a directive, a weight or an option takes."""

_SIGNIFICANT: Final = 20


def parse_number(text: str) -> int | None:
    """The value of digits, None for anything else; above 20 digits it is only known to be large."""
    if not (text.isascii() and text.isdigit()):
        return None
    return int(text.lstrip("0")[:_SIGNIFICANT] or "0")
