"""Numbers in the configuration file and on the command line: ASCII digits only."""

from typing import Final

NUMBER_MAXIMUM: Final = 2**31 - 1
"""Largest number that a directive, a weight or an option accepts."""

_SIGNIFICANT: Final = 20


def parse_number(text: str) -> int | None:
    """Return the value of a text of ASCII digits, None for any other text.

    Of more than 20 significant digits only the first 20 count, so the result is above any limit.
    """
    if not (text.isascii() and text.isdigit()):
        return None
    return int(text.lstrip("0")[:_SIGNIFICANT] or "0")


def share_text(share: float) -> str:
    """Return a number from 0 to 1 as it is written in a file, with up to 15 decimals."""
    return f"{share:.15f}".rstrip("0").rstrip(".")
