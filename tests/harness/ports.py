"""Free ports, and loopback addresses on which a given port is free."""

import itertools
import os
from collections.abc import Iterator

from twemproxy.demo.processes import bindable

# Below the range from which the kernel takes client ports, so an outgoing connection of a test never uses one of them.
_FIRST, _LAST = 10000, 32000


def _numbers(span: int) -> Iterator[int]:
    """All numbers below ``span`` in an endless cycle; the start differs between processes that run tests.

    A port on which a test expects no listener must not be given to a test in another process.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    start = os.getpid() * 97 + span * worker // workers
    return ((start + i) % span for i in itertools.count())


def _candidates() -> Iterator[int]:
    return (_FIRST + number for number in _numbers(_LAST - _FIRST))


def _host_candidates() -> Iterator[str]:
    return (f"127.{number // 250 + 1}.{number % 250 + 1}.1" for number in _numbers(250 * 250))


_ports = _candidates()
_hosts = _host_candidates()


def free_port() -> int:
    """A port that could be bound just now; never the same port twice in a process."""
    return next(port for port in _ports if bindable(port))


def free_host(port: int) -> str:
    """A loopback address on which that port could be bound just now; never the same address twice in a process."""
    return next(host for host in _hosts if bindable(port, host))
