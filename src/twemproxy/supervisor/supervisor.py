"""The supervisor: starts the parts of the proxy in order, handles signals, and stops the parts in order."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Final

from twemproxy import __version__, log
from twemproxy.admin.control_socket import ControlSocket
from twemproxy.admin.stats_port import StatsPort
from twemproxy.config.loading import ConfigError, load
from twemproxy.config.options import Options
from twemproxy.config.pools import Config
from twemproxy.ipc.control import Answer, Describe, Refused, Reload, Reloaded, Request, Served
from twemproxy.ipc.messages import LogSettings, ReopenLog, SetLogLevel, ToWorker
from twemproxy.supervisor.daemon import daemonize
from twemproxy.supervisor.errors import StartError
from twemproxy.supervisor.listeners import listen_for_control, listen_for_stats
from twemproxy.supervisor.pidfile import PidFile
from twemproxy.supervisor.resolver import Resolver
from twemproxy.supervisor.served_config import ReloadFailed, ServedConfig
from twemproxy.supervisor.service_manager import ServiceManager
from twemproxy.supervisor.stats_log import StatsLog
from twemproxy.supervisor.watch import Identity, identity, watch
from twemproxy.supervisor.worker_process import PYTHON_WORKER, WorkerProgram
from twemproxy.supervisor.worker_slot import WorkerSlot

SETTLE_SHARE: Final = 0.8
"""Fraction of the drain time for which pools keep serving at most, until the requests in flight have replies."""
CUT_OFF_SHARE: Final = 0.95
"""Fraction of the drain time after which remaining clients are closed, so that the process exits in time."""
PATIENCE_SHARE: Final = 0.2
"""Fraction of the drain time after which requests to a silent server fail and a client that reads nothing is closed."""

_VERSE: Final = "many keys, few wires / each to its own server, each reply in its turn"

_logger = log.get_logger(__name__)


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that are blocked when the proxy has stopped, because nothing is left to do for them."""


def run(options: Options, *, workers: int = 1, program: WorkerProgram = PYTHON_WORKER) -> int:
    """Run the proxy until a signal stops it; returns the exit status: 0, or 1 if it could not start or continue.

    The reason of a failure is written to standard error, and to the log file if there is one.
    """
    try:
        log.configure(LogSettings(options.log_level, options.log_path))
    except log.LogError as error:
        _tell(str(error))
        return 1
    # The debug messages of asyncio are about asyncio, not about the proxy.
    log.get_logger("asyncio").setLevel(log.WARN)
    if options.daemonize:
        daemonize()
    return asyncio.run(Supervisor(options, workers, program).run())


class Supervisor:
    """One run of the proxy."""

    def __init__(self, options: Options, workers: int, program: WorkerProgram) -> None:
        self._options = options
        self._worker_count = workers
        self._program = program
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._is_draining = False
        self._slots: list[WorkerSlot] = []
        self._stats_log: StatsLog | None = None
        self._served: ServedConfig | None = None
        self._reloads: set[asyncio.Task[list[str]]] = set()
        self._manager = ServiceManager()
        self._file: Identity | None = None

    async def run(self) -> int:
        """Run the proxy as ``run`` of the module does; the log must be open. Returns the exit status."""
        asyncio.get_running_loop().set_exception_handler(_log_exception)
        self._watch_signals()
        try:
            return await self._run()
        finally:
            # While the event loop closes, a signal would meet a handler that is partly removed, or kill the process.
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)

    async def _run(self) -> int:
        with ExitStack() as held:
            try:
                if self._options.pid_file:
                    held.callback(PidFile(self._options.pid_file).remove)
                _log_banner()
                await self._serve(held)
            except ConfigError as error:
                for line in error.lines():
                    self._explain(line)
                if error.line:
                    _tell(f"nutcracker: configuration file '{self._options.conf_file}' syntax is invalid")
                return 1
            except StartError as error:
                self._explain(str(error))
                return 1
        log.always("nutcracker-%s on pid %d is done", __version__, os.getpid())
        return 0

    async def _serve(self, held: ExitStack) -> None:
        """Open the sockets, run the workers, and return when they have exited."""
        self._file = identity(self._options.conf_file)
        config = load(self._options.conf_file)
        _logger.log(log.NOTICE, "configuration file '%s'", self._options.conf_file)
        served = ServedConfig(config, self._options, self._worker_count, self._manager)
        stats_port = StatsPort(served.document)
        stats_listener = listen_for_stats(self._options.stats_addr, self._options.stats_port)
        with ExitStack() as doors:
            doors.callback(stats_listener.close)
            await stats_port.open(stats_listener.socket)
            doors.callback(stats_port.close)
            served.listeners.open(config)
            for address in served.listeners.unused():
                _logger.warning("no pool listens on %s, of which the service manager has passed a socket", address)
            doors.callback(served.listeners.close_all)
            self._make_slots(served)
            self._stats_log = StatsLog(self._options.stats_interval, served.statistics.take)
            held.callback(self._stats_log.stop)
            self._served = served
            await self._open_control_socket(held)
            await self._run_workers(config, doors)

    async def _open_control_socket(self, held: ExitStack) -> None:
        """Open the control socket, if there is one; it stays open while the proxy stops."""
        if self._options.control_socket:
            listener = listen_for_control(self._options.control_socket)
            held.callback(listener.close)
            control = ControlSocket(self._answer)
            await control.open(listener.socket)
            held.callback(control.close)

    async def _answer(self, request: Request) -> Answer:
        """The answer to a sub-command."""
        served = self._served
        if served is None:
            return Refused(("the proxy starts",))
        match request:
            case Describe():
                return Served(
                    version=__version__,
                    pid=os.getpid(),
                    config=served.config,
                    conf_file=served.path,
                    status=served.status,
                    ready=not self._stopping.is_set() and all(slot.ready.is_set() for slot in self._slots),
                )
            case Reload() if self._stopping.is_set():
                return Refused(("the proxy stops",))
            case Reload():
                log.always("reloading the configuration, as nutcracker reload says")
                try:
                    lines = await served.reload(request.fingerprint)
                except ReloadFailed as error:
                    return Refused(error.reasons)
                return Reloaded(tuple(lines), served.status)

    def _make_slots(self, served: ServedConfig) -> None:
        resolver = Resolver()
        for number in range(1, self._worker_count + 1):
            try:
                slot = WorkerSlot(self._program, number, served.statistics.slots, served.start, resolver)
            except OSError as error:
                raise StartError(f"no memory for the counters: {error.strerror}") from error
            served.statistics.tables.append(slot.table)
            served.workers.append(slot)
        self._slots = served.workers

    async def _run_workers(self, config: Config, doors: ExitStack) -> None:
        """Run the workers until all have exited.

        When the proxy is stopped or a worker fails, close ``doors``, the listening sockets and the statistics port, and
        drain the workers.
        """
        workers = [asyncio.create_task(slot.run()) for slot in self._slots]
        stop = asyncio.create_task(self._stopping.wait())
        announcement = asyncio.create_task(self._announce(config))
        others = [asyncio.create_task(self._watch()), asyncio.create_task(self._report_life())]
        try:
            await asyncio.wait([stop, *workers], return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.is_set():
                self._manager.stopping()
                await self._delay(workers)
        finally:
            stop.cancel()
            announcement.cancel()
            for task in others:
                task.cancel()
            for reload in self._reloads:
                reload.cancel()
        rest = await self._quiesce(workers) if self._stopping.is_set() else 0
        doors.close()
        self._drain(rest)
        await asyncio.wait(workers)
        for worker in workers:
            worker.result()

    async def _delay(self, workers: Sequence[asyncio.Task[None]]) -> None:
        """Go on for ``drain_delay``: load balancers learn that the proxy is not ready, and some clients come late."""
        if self._options.drain_delay:
            hurry = asyncio.create_task(self._hurrying.wait())
            await asyncio.wait(
                [hurry, *workers], timeout=self._options.drain_delay, return_when=asyncio.FIRST_COMPLETED
            )
            hurry.cancel()

    async def _watch(self) -> None:
        """Reload when the configuration file was changed, if the options say so."""
        if self._options.watch and self._served is not None:
            await watch(self._served.path, self._file, self._reload_changed)

    async def _reload_changed(self) -> None:
        log.always("the configuration file was changed, reloading it")
        if self._served is not None:
            with suppress(ReloadFailed):  # it is in the log
                await self._served.reload()

    async def _report_life(self) -> None:
        """Tell the service manager that the proxy works, as often as it wants to know."""
        interval = self._manager.watchdog_interval
        while interval:
            await asyncio.sleep(interval)
            if all(slot.ready.is_set() for slot in self._slots):
                self._manager.alive()

    async def _quiesce(self, workers: Sequence[asyncio.Task[None]]) -> float:
        """Have the workers answer the requests in flight while they keep serving; returns the seconds left to drain.

        So the time in which no client is accepted is short, even if a server or a client delays the exit.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        for slot in self._slots:
            slot.quiesce(self._patience)
        quiesced = asyncio.create_task(self._wait_quiesced())
        hurry = asyncio.create_task(self._hurrying.wait())
        await asyncio.wait(
            [quiesced, hurry, *workers],
            timeout=SETTLE_SHARE * self._options.drain_time,
            return_when=asyncio.FIRST_COMPLETED,
        )
        quiesced.cancel()
        hurry.cancel()
        if self._hurrying.is_set():
            return 0
        return CUT_OFF_SHARE * self._options.drain_time - (loop.time() - started)

    async def _wait_quiesced(self) -> None:
        for slot in self._slots:
            await slot.quiesced.wait()

    @property
    def _patience(self) -> float:
        return PATIENCE_SHARE * self._options.drain_time

    def _drain(self, timeout: float) -> None:
        self._is_draining = True
        for slot in self._slots:
            slot.drain(max(timeout, 0), self._patience)

    async def _announce(self, config: Config) -> None:
        """Wait until all workers accept clients, then log it."""
        for slot in self._slots:
            await slot.ready.wait()
        if self._stats_log is not None:
            self._stats_log.follow_level()
        where = ", ".join(f"{pool.name} on {pool.listen.text}" for pool in config.pools)
        _logger.log(log.NOTICE, "ready: %s", where)
        self._manager.ready()
        if self._served is not None:
            self._served.identify()

    def _watch_signals(self) -> None:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_IGN)
        loop = asyncio.get_running_loop()
        actions: tuple[tuple[signal.Signals, str, Callable[[], None] | None], ...] = (
            (signal.SIGUSR1, ", reloading the configuration", self._reload),
            (signal.SIGUSR2, "", None),
            (signal.SIGTTIN, ", up logging level", lambda: self._change_level(+1)),
            (signal.SIGTTOU, ", down logging level", lambda: self._change_level(-1)),
            (signal.SIGHUP, ", reopening log file", self._reopen_log),
            (signal.SIGINT, ", exiting", self._stop),
            (signal.SIGTERM, ", exiting", self._stop),
        )
        for number, suffix, action in actions:
            loop.add_signal_handler(number, self._on_signal, number, suffix, action)

    def _on_signal(self, number: signal.Signals, suffix: str, action: Callable[[], None] | None) -> None:
        log.always("signal %d (%s) received%s", number, number.name, suffix)
        if action is not None:
            action()

    def _change_level(self, step: int) -> None:
        before = log.current_level()
        log.set_level(before + step)
        level = log.current_level()
        if level == before:
            return
        log.always("%s log level to %d", "up" if step > 0 else "down", level)
        self._tell_workers(SetLogLevel(level))
        if self._stats_log is not None:
            self._stats_log.follow_level()

    def _reopen_log(self) -> None:
        try:
            log.reopen()
        except log.LogError as error:
            _logger.error("%s", error)
        self._tell_workers(ReopenLog())

    def _reload(self) -> None:
        """Begin to reload the configuration, unless the proxy stops or has not started yet."""
        if self._served is not None and not self._stopping.is_set():
            task = asyncio.create_task(self._served.reload())
            self._reloads.add(task)
            task.add_done_callback(self._reload_ended)

    def _reload_ended(self, task: asyncio.Task[list[str]]) -> None:
        self._reloads.discard(task)
        if not task.cancelled() and isinstance(task.exception(), ReloadFailed):
            # It is in the log.
            return
        if not task.cancelled():
            task.result()

    def _stop(self) -> None:
        """Stop the proxy by draining the workers; a second call ends the drain at once."""
        if self._stopping.is_set():
            self._hurrying.set()
            if self._is_draining:
                self._drain(0)
        self._stopping.set()

    def _tell_workers(self, message: ToWorker) -> None:
        for slot in self._slots:
            slot.send(message)

    def _explain(self, reason: str) -> None:
        """Report why the proxy does not run: on standard error, and in the log file if there is one."""
        _tell(f"nutcracker: {reason}")
        if self._options.log_path:
            _logger.error("%s", reason)


def _log_banner() -> None:
    system = os.uname()
    log.always(
        "nutcracker-%s built for %s %s %s started on pid %d",
        *(__version__, system.sysname, system.release, system.machine, os.getpid()),
    )
    log.always(_VERSE)


def _tell(line: str) -> None:
    if sys.stderr is not None:  # None if the descriptor was closed; print would then use standard output
        print(line, file=sys.stderr, flush=True)


def _log_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    _logger.error("%s", context["message"], exc_info=context.get("exception"))
