"""The worker process. The supervisor starts it, see ``supervisor.worker_process.WorkerProgram``.

The worker's standard input is a unix stream socket, on which the supervisor first sends ``messages.Start``. The worker
exits after a drain, or when the supervisor is gone.
"""

import array
import contextlib
import gc
import mmap
import os
import signal
import socket
import sys
from collections.abc import Callable

from twemproxy import log
from twemproxy.config.pools import PoolConfig
from twemproxy.ipc.messages import (
    Drain,
    MessageStream,
    Quiesce,
    Quiesced,
    Ready,
    ReopenLog,
    Resolve,
    Resolved,
    SetLogLevel,
    Start,
    ToSupervisor,
    encode,
)
from twemproxy.net.event_loop import CallbackChannel
from twemproxy.protocol.codec import Codec
from twemproxy.protocol.memcache.codec import MemcacheCodec
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.stats.counters import CounterTable
from twemproxy.worker.data_plane import DataPlane

_logger = log.get_logger(__name__)

STANDARD_INPUT = 0
RECEIVE_SIZE = 65536
MOST_DESCRIPTORS = 250
"""Most descriptors per recvmsg(2); the kernel's limit is 253 (SCM_MAX_FD)."""

IGNORED_SIGNALS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGPIPE,
    signal.SIGTERM,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGXFSZ,
)
"""Ignored, because a terminal also signals the worker. The supervisor sends messages instead."""


class SupervisorGone(Exception):
    """The supervisor's end of the control socket is closed."""


class Control:
    """The worker's end of the control socket."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)
        self.socket.setblocking(True)
        self._stream = MessageStream(for_worker=True)
        self._early: list[object] = []

    def receive_start(self) -> tuple[Start, list[int]]:
        """Wait for the first message; returns it and the descriptors that came with it.

        Raises SupervisorGone, or TypeError if the message is not ``Start``.
        """
        descriptors: list[int] = []
        size = array.array("i").itemsize
        while not self._early:
            data, ancillary, _, _ = self.socket.recvmsg(RECEIVE_SIZE, socket.CMSG_SPACE(MOST_DESCRIPTORS * size))
            for level, kind, content in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    received = array.array("i")
                    received.frombytes(content[: len(content) - len(content) % size])
                    descriptors += received
            if not data:
                raise SupervisorGone
            self._early += self._stream.feed(data)
        start = self._early.pop(0)
        if not isinstance(start, Start):
            raise TypeError(f"the first message is {type(start).__name__} instead of Start")
        return start, descriptors

    def receive(self) -> list[object]:
        """Return the messages that have arrived; call this when the socket is readable. Raises SupervisorGone."""
        data = self.socket.recv(RECEIVE_SIZE)
        if not data:
            raise SupervisorGone
        return list(self._stream.feed(data))

    def send(self, message: ToSupervisor) -> None:
        """Send a message to the supervisor; it is dropped if the supervisor is gone."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(encode(message))


class Resolutions:
    """The look-ups that the supervisor does for this worker, and the callbacks that wait for them."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._waiting: dict[tuple[str, int], list[Callable[[Resolved], None]]] = {}

    def __call__(self, host: str, port: int, callback: Callable[[Resolved], None]) -> None:
        """Look up a host; ``callback`` gets the result later. Calls for the same host and port share a look-up."""
        waiting = self._waiting.setdefault((host, port), [])
        waiting.append(callback)
        if len(waiting) == 1:
            self._control.send(Resolve(host, port))

    def answered(self, answer: Resolved) -> None:
        """Pass an answer of the supervisor to the callbacks that wait for it."""
        for callback in self._waiting.pop((answer.host, answer.port), []):
            callback(answer)


def codec_of(pool: PoolConfig) -> Codec:
    """Return the codec for the pool's protocol."""
    if pool.redis:
        return RedisCodec(pool.allow_commands, pool.deny_commands)
    return MemcacheCodec(pool.allow_commands)


def serve(control: Control) -> None:
    """Build the pools of the Start message, and serve them until a drain is complete."""
    start, descriptors = control.receive_start()
    log.configure(start.log)
    pools = start.config.pools
    memory = mmap.mmap(descriptors[0], 0)
    os.close(descriptors[0])
    table = CounterTable(memory)
    resolutions = Resolutions(control)
    data_plane = DataPlane(start.log.level, start.mbuf_size, start.client_limit, start.max_memory)
    for pool, slots in zip(pools, start.slots, strict=True):
        data_plane.add_pool(pool, codec_of(pool), table, slots, resolutions)

    def on_message() -> None:
        try:
            messages = control.receive()
        except (SupervisorGone, ConnectionResetError):
            _logger.critical("the supervisor is gone; the worker exits")
            os._exit(1)
        for message in messages:
            match message:
                case Resolved():
                    resolutions.answered(message)
                case Quiesce():
                    data_plane.quiesce(message.patience, lambda: control.send(Quiesced()))
                case Drain():
                    data_plane.drain(message.timeout, message.patience)
                case SetLogLevel():
                    log.set_level(message.level)
                    data_plane.set_verbosity(message.level)
                case ReopenLog():
                    reopen_log()

    channel = CallbackChannel(control.socket.fileno(), on_message)
    data_plane.loop.watch_reads(channel)
    data_plane.preconnect()
    data_plane.listen(descriptors[1:])
    control.send(Ready())
    # Nearly all present objects live as long as the worker, so the garbage collector need not examine them again.
    gc.collect()
    gc.freeze()
    data_plane.run()


def reopen_log() -> None:
    """Reopen the log file; if that fails, log the error and keep the old file."""
    try:
        log.reopen()
    except log.LogError as error:
        _logger.error("%s", error)


def main() -> int:
    """Run a worker; returns its exit status: 0, or 1 if the supervisor is gone."""
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    control = Control(STANDARD_INPUT)
    try:
        serve(control)
    except (SupervisorGone, ConnectionResetError):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
