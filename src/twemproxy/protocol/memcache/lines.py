"""Line ends, for the interpreted flavour; compiled modules take the same function from the ``.pxd`` beside."""

from typing import Any


def find_newline(buf: Any, at: int, end: int) -> int:
    """Position of the first line feed in ``buf[at:end]``, which is bytes; -1 for none."""
    position: int = buf.find(b"\n", at, end)
    return position
