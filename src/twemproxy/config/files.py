"""The default files of the proxy, used for files that the command line does not name.

The configuration is conf/nutcracker.yml in the working directory, as in nutcracker, or else that of Debian's package.
The package's unit and init script start the proxy with the package's configuration, and expect the log and the pid file
at certain paths. So these paths are the defaults if the proxy uses this configuration.
"""

import os
import stat
from typing import Any, Final, NamedTuple


class Places(NamedTuple):
    """Paths of default files. A relative path is relative to the working directory."""

    local: str
    """The configuration that is tried first."""
    packaged: str
    """The configuration of the package."""
    log: str
    """The package's log file."""
    pid: str
    """The package's pid file; only a proxy in the background writes it."""
    control: str
    """The control socket beside this pid file, which sub-commands use if they are not told another one."""


PLACES: Final = Places(
    local="conf/nutcracker.yml",
    packaged="/etc/nutcracker/nutcracker.yml",
    log="/var/log/nutcracker/nutcracker.log",
    pid="/run/nutcracker/nutcracker.pid",
    control="/run/nutcracker/nutcracker.sock",
)


class NoConfiguration(Exception):
    """No configuration is named, and there is none at the default paths. The text says so."""


def control_socket_beside(pid_file: str) -> str:
    """Return the default path of the control socket of a proxy with this pid file; without a pid file there is none."""
    return pid_file.removesuffix(".pid") + ".sock" if pid_file else ""


def complete(given: dict[str, Any], places: Places = PLACES) -> dict[str, Any]:
    """Return the ``given`` values of ``config.options.Options``, with the default files added.

    If the configuration is given, or is the local one, the other defaults are those of nutcracker: the log is standard
    error, and there is no pid file. With the package's configuration, the package's log and pid file are used if they
    can be written, and so is its control socket. Otherwise the control socket is beside the pid file. Raises
    NoConfiguration.
    """
    completed = _complete(given, places)
    if beside := control_socket_beside(completed.get("pid_file", "")):
        completed.setdefault("control_socket", beside)
    return completed


def _complete(given: dict[str, Any], places: Places) -> dict[str, Any]:
    """The same, without the control socket."""
    if "conf_file" in given:
        return dict(given)
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
        if "pid_file" not in completed and _can_write(places.control):
            completed.setdefault("control_socket", places.control)
    return completed


def _can_write(path: str) -> bool:
    """Whether the file can be written or made; a socket can be made anew."""
    if os.path.isfile(path):
        return os.access(path, os.W_OK)
    if os.path.exists(path) and not stat.S_ISSOCK(os.stat(path).st_mode):
        return False
    return os.access(os.path.dirname(path), os.W_OK | os.X_OK)
