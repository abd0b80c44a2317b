"""The classes of commands, whose latency is measured apart."""

import enum


class CommandClass(enum.IntEnum):
    """A class; ``stats.catalogue.COMMAND_CLASSES`` has the same ones in the same order."""

    READ = 0
    WRITE = 1
    SCRIPT = 2
    """Scripts and functions."""
    BLOCKING = 3
    """May wait for a key."""
    OTHER = 4
    """Neither reads nor writes keys, or the proxy answers it."""
