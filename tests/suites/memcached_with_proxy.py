"""``memcached_with_proxy MEMCACHED ARGUMENT...``: ``MEMCACHED ARGUMENT...`` with a proxy in front of it.

The proxy listens on the address in the arguments, memcached on a unix socket. Signals are passed on to memcached. When
memcached ends, the proxy and this program end, too, with the same status. If memcached does not start a server in the
foreground (``-h``, ``-V``, ``-d``), it runs without a proxy.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness.proc import is_listening_on_path
from harness.proxy import Proxy, memcached_pool
from harness.waiting import wait_until
from twemproxy.protocol.memcache.commands import PERMITTED_BY_DIRECTIVE

_INFORM_OR_DETACH = {"-h", "-V", "-i", "-d"}
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


def moved(arguments: Sequence[str], path: str) -> tuple[list[str], str]:
    """The arguments for a memcached on the socket at ``path``, and the address in the arguments as ``listen`` has it.

    If there is not exactly one address, it is returned empty, and the arguments are unchanged.
    """
    rest: list[str] = []
    given = {"-l": "127.0.0.1"}
    position = 0
    while position < len(arguments):
        option = arguments[position]
        if option in {"-p", "-s", "-l"} and position + 1 < len(arguments):
            given[option] = arguments[position + 1]
            position += 2
        else:
            rest.append(option)
            position += 1
    if "-s" in given:
        listen = f"{given['-s']} 0777"
    elif "-p" in given and all(sign not in given["-l"] for sign in ",:"):
        listen = f"{given['-l']}:{given['-p']}"
    else:
        return list(arguments), ""
    return ["-s", path, *rest], listen


def main() -> int:
    """Run memcached; returns its exit status."""
    memcached, *arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="memcached-") as folder:
        path = str(Path(folder) / "socket")
        command, listen = moved(arguments, path)
        if not listen or _INFORM_OR_DETACH.intersection(arguments):
            os.execv(memcached, [memcached, *arguments])
        # The suite reads what memcached writes, and kills the group of this process if it hangs.
        server = subprocess.Popen([memcached, *command], stdin=subprocess.DEVNULL)
        try:
            for sign in _PASSED_ON:
                signal.signal(sign, lambda number, _: server.send_signal(number))
            wait_until(lambda: server.poll() is not None or is_listening_on_path(path), "memcached listens")
            if server.poll() is None:
                allowed = f'"{" ".join(PERMITTED_BY_DIRECTIVE)}"'
                with Proxy(memcached_pool(path, listen=listen, allow_commands=allowed)):
                    server.wait()
        finally:
            server.kill()
            server.wait()
        return server.returncode


if __name__ == "__main__":
    sys.exit(main())
