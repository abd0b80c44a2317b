"""What the proxy and a service manager tell each other: systemd, and others with its interface.

The manager passes listening sockets (LISTEN_FDS, see sd_listen_fds(3)), and is told by datagrams what the proxy does
(NOTIFY_SOCKET, see sd_notify(3)): when it is ready, reloads or stops, and, if the manager wants to know, that it is
alive (WATCHDOG_USEC, see sd_watchdog_enabled(3)).
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from twemproxy import log
from twemproxy.supervisor.open_files import passed_descriptors

_logger = log.get_logger(__name__)


def passed_sockets(environment: Mapping[str, str] = os.environ) -> list[socket.socket]:
    """Return the listening sockets that the manager has passed to this process, none without a manager."""
    sockets = []
    for descriptor in passed_descriptors(environment):
        try:
            os.set_inheritable(descriptor, False)
            listening = socket.socket(fileno=descriptor)
            if not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                listening.close()
                raise OSError(0, "it does not listen")
            sockets.append(listening)
        except OSError as error:
            _logger.warning(
                "descriptor %(descriptor)d of the service manager is not used: %(reason)s",
                {"descriptor": descriptor, "reason": error.strerror},
            )
    return sockets


class ServiceManager:
    """The manager of this service, or nobody."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Read the environment."""
        self._path = environment.get("NOTIFY_SOCKET", "")
        self._is_stopping = False
        self.watchdog_interval = 0.0
        """Seconds between two calls of ``alive``; 0: the manager does not want them."""
        wanted = environment.get("WATCHDOG_USEC", "")
        if self._path and wanted.isdecimal() and environment.get("WATCHDOG_PID") in (None, str(os.getpid())):
            self.watchdog_interval = int(wanted) / 2 / 1_000_000

    def ready(self) -> None:
        """The proxy accepts clients; also after a reload. Its process id may be another one than the started one's.

        Once the proxy stops, the manager is not told of reloads any more.
        """
        if not self._is_stopping:
            self._tell("READY=1", f"MAINPID={os.getpid()}", "STATUS=serves clients")

    def reloading(self) -> None:
        """A reload begins; ``ready`` ends it, whether it has succeeded or not."""
        if not self._is_stopping:
            self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The proxy finishes the requests in flight and ends."""
        self._is_stopping = True
        self._tell("STOPPING=1", "STATUS=finishes requests and stops")

    def alive(self) -> None:
        """The proxy works."""
        self._tell("WATCHDOG=1")

    async def report_life(self, works: Callable[[], bool]) -> None:
        """Tell the manager that the proxy works, as often as it wants to know; ``works`` says whether it does."""
        while self.watchdog_interval:
            await asyncio.sleep(self.watchdog_interval)
            if works():
                self.alive()

    def _tell(self, *lines: str) -> None:
        if not self._path:
            return
        # A path that begins with @ is in the abstract namespace, see unix(7).
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), address)
