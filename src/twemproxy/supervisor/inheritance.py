"""What a supervisor passes to another version of the program that takes its process over (execve(2)).

Everything is in one block of shared memory, whose descriptor is in the environment variable INHERITANCE: the
configuration in use, where the counters are, and the numbers of the descriptors that stay open: listening sockets,
control sockets and counters of the workers. Workers go on while the process becomes another program.
"""

import os
from collections.abc import Iterable
from typing import Final

import msgspec

from twemproxy import __version__
from twemproxy.config.pools import Address, Config
from twemproxy.ipc.control import Ejection
from twemproxy.ipc.messages import ConfigStatus
from twemproxy.stats.report import Event
from twemproxy.stats.slots import Layout
from twemproxy.supervisor.early_worker import INHERITANCE

PROTOCOL: Final = 3
"""Number of this form of the inheritance, and of the messages between the supervisor and its workers."""


class InheritedListener(msgspec.Struct, frozen=True):
    """A listening socket."""

    descriptor: int
    path: str = ""
    """The path of the file of a unix socket that is removed with it; empty: none."""
    file: tuple[int, int] = (0, 0)
    """The device and the inode of this file."""
    reuse_port: bool = False
    adopted: bool = False
    """See ``listeners.Listener``; the same for ``reuse_port``."""


class InheritedWorker(msgspec.Struct, frozen=True):
    """A worker process, which is a child of the supervisor's process."""

    number: int
    pid: int
    control: int
    """The descriptor of the supervisor's end of the control socket."""
    counters: int
    """The descriptor of the memory of its counters."""
    inbox: tuple[int, int]
    """The descriptors of the two ends of its inbox."""


class Inheritance(msgspec.Struct, frozen=True):
    """All that another version needs to go on."""

    protocol: int
    version: str
    config: Config
    status: ConfigStatus
    started: float
    """When the proxy was started, by the system's steady clock, in seconds."""
    log_level: int
    layout: Layout
    ended: dict[int, int]
    """The sums of the counters of workers that have ended, by position."""
    shared: int
    """The descriptor of the memory of the table that all workers write."""
    pools: tuple[tuple[Address, InheritedListener], ...]
    passed: tuple[int, ...]
    """The descriptors of listening sockets that the service manager has passed and no pool uses."""
    stats: InheritedListener
    control: InheritedListener | None
    workers: tuple[InheritedWorker, ...]
    worker_count: int
    """How many workers there should be; 0: as many as the system gives processors."""
    answer_to: int = -1
    """The descriptor of the connection to the sub-command that waits for the end of the upgrade; -1: there is none."""
    reload: bool = False
    """Whether the configuration file has to be read, as a signal has said during the upgrade."""
    ejections: tuple[Ejection, ...] = ()
    """The ejections by hand."""
    watched: tuple[int, int, int, int] | None = None
    """The ``watch.Identity`` of the configuration file that was read last; None: it was not there."""
    ended_histograms: dict[int, list[int]] = {}
    """The sums of the histograms of workers that have ended: the words by the position of the first one."""
    access_log: tuple[int, int] | None = None
    """The descriptors of the two ends of the pipe of the access log; None: the other version has none."""
    events: tuple[Event, ...] = ()
    """What has happened, oldest first."""

    def descriptors(self) -> Iterable[int]:
        """The descriptors that the other version needs."""
        yield from (listener.descriptor for _, listener in self.pools)
        yield from self.passed
        if self.access_log is not None:
            yield from self.access_log
        yield self.shared
        yield self.stats.descriptor
        if self.control is not None:
            yield self.control.descriptor
        for worker in self.workers:
            yield from (worker.control, worker.counters, *worker.inbox)
        if self.answer_to >= 0:
            yield self.answer_to


class InheritanceError(Exception):
    """The inheritance cannot be taken over. The text is the reason."""


def write(inheritance: Inheritance) -> int:
    """Return the descriptor of memory with the inheritance."""
    descriptor = os.memfd_create("nutcracker inheritance", 0)
    os.write(descriptor, msgspec.msgpack.encode(inheritance))
    return descriptor


def read(descriptor: int) -> Inheritance:
    """Return the inheritance in the memory of a descriptor. Raises InheritanceError."""
    try:
        data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        protocol = msgspec.msgpack.decode(data, type=_OnlyProtocol).protocol
        if protocol != PROTOCOL:
            raise InheritanceError(
                f"version {__version__} takes over protocol {PROTOCOL}, and the running version speaks {protocol}"
            )
        return msgspec.msgpack.decode(data, type=Inheritance)
    except (OSError, msgspec.DecodeError) as error:
        raise InheritanceError(f"version {__version__} cannot read what the running version passes: {error}") from error


class _OnlyProtocol(msgspec.Struct):
    protocol: int


def taken() -> Inheritance | None:
    """Return what a former version has passed to this process, None if it was started as usual."""
    number = os.environ.pop(INHERITANCE, None)
    if number is None:
        return None
    descriptor = int(number)
    try:
        inheritance = read(descriptor)
    finally:
        os.close(descriptor)
    for each in inheritance.descriptors():
        os.set_inheritable(each, False)
    return inheritance
