"""The first lines of the log."""

import os
from typing import Final

from twemproxy import __version__, log
from twemproxy.supervisor.inheritance import Inheritance

_VERSE: Final = "many keys, few wires / each to its own server, each reply in its turn"


def log_banner(inheritance: Inheritance | None) -> None:
    """Log which version runs. ``inheritance``: of the version for which it goes on."""
    system = os.uname()
    if inheritance is not None:
        log.always("nutcracker-%s goes on for nutcracker-%s on pid %d", __version__, inheritance.version, os.getpid())
        return
    log.always(
        "nutcracker-%s built for %s %s %s started on pid %d",
        *(__version__, system.sysname, system.release, system.machine, os.getpid()),
    )
    log.always(_VERSE)
