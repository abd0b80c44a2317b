"""Finds line ends, for the interpreter; compiled modules use the same function in the ``.pxd``."""

from typing import Any


def find_newline(buf: Any, at: int, end: int) -> int:
    """The position of the first line feed in ``buf[at:end]``, which is bytes; -1 for none."""
    position: int = buf.find(b"\n", at, end)
    return position
