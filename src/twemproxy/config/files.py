"""The files that the proxy uses where the command line names none.

The configuration is conf/nutcracker.yml of the working directory, as with nutcracker, or else that of Debian's package.
A proxy that uses the package's configuration has been started as the package does it, by its unit or its init script,
and keeps log and pid file where these look for them.
"""

import os
from typing import Any, Final, NamedTuple


class Places(NamedTuple):
    """Paths of default files; relative ones to the working directory."""

    local: str
    """The configuration that is looked for first."""
    packaged: str
    """The configuration of the package."""
    log: str
    """The package's log file."""
    pid: str
    """The package's pid file, which only a proxy in the background writes."""


PLACES: Final = Places(
    local="conf/nutcracker.yml",
    packaged="/etc/nutcracker/nutcracker.yml",
    log="/var/log/nutcracker/nutcracker.log",
    pid="/run/nutcracker/nutcracker.pid",
)


class NoConfiguration(Exception):
    """None is named and there is none at the default places; the text says so."""


def complete(given: dict[str, Any], places: Places = PLACES) -> dict[str, Any]:
    """The values of ``config.options.Options`` that were ``given``, and the default files.

    With a configuration that is given, and with the local one, the other files stay as nutcracker has them: log to
    standard error, no pid file. The package's are used if they can be written. Raises NoConfiguration.
    """
    if "conf_file" in given:
        return given
    found = next((path for path in (places.local, places.packaged) if os.path.exists(path)), None)
    if found is None:
        raise NoConfiguration(
            f"no configuration file: neither '{places.local}' nor '{places.packaged}' exists, and there is no option -c"
        )
    completed = {"conf_file": found, **given}
    if found == places.packaged:
        if _can_write(places.log):
            completed.setdefault("log_path", places.log)
        if given.get("daemonize") and _can_write(places.pid):
            completed.setdefault("pid_file", places.pid)
    return completed


def _can_write(path: str) -> bool:
    if os.path.exists(path):
        return os.path.isfile(path) and os.access(path, os.W_OK)
    return os.access(os.path.dirname(path), os.W_OK | os.X_OK)
