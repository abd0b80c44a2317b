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
        log.always(
            "nutcracker-%(version)s goes on for nutcracker-%(former_version)s on pid %(pid)d",
            {"version": __version__, "former_version": inheritance.version, "pid": os.getpid()},
        )
        return
    log.always(
        "nutcracker-%(version)s built for %(platform)s started on pid %(pid)d",
        {
            "version": __version__,
            "platform": f"{system.sysname} {system.release} {system.machine}",
            "pid": os.getpid(),
        },
    )
    log.always(_VERSE)
