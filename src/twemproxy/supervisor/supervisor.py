"""The supervisor: starts the parts of the proxy in order, handles signals, and stops the parts in order."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Final, TypeVar

from twemproxy import __version__, log
from twemproxy.admin.control_socket import ControlSocket
from twemproxy.admin.stats_port import StatsPort
from twemproxy.config.capacity import shortage_in
from twemproxy.config.loading import ConfigError, load
from twemproxy.config.options import Options
from twemproxy.config.pools import Config
from twemproxy.ipc.control import (
    Answer,
    Describe,
    LogLevel,
    LogLevelIs,
    Refused,
    Reload,
    Reloaded,
    Request,
    Resize,
    Resized,
    Served,
    Upgrade,
    Upgraded,
    encode,
)
from twemproxy.ipc.messages import Announce, LogSettings, ReopenLog, SetLogLevel, ToWorker, event_number
from twemproxy.supervisor.answers import answer
from twemproxy.supervisor.banner import log_banner
from twemproxy.supervisor.counter_memory import CounterMemory
from twemproxy.supervisor.daemon import daemonize
from twemproxy.supervisor.early_worker import NATIVE_WORKER, PYTHON_WORKER, EarlyWorker, WorkerProgram
from twemproxy.supervisor.errors import StartError, log_exception, tell
from twemproxy.supervisor.inheritance import PROTOCOL, Inheritance, InheritedWorker, taken
from twemproxy.supervisor.listeners import Listener, listen_for_control, listen_for_stats
from twemproxy.supervisor.pidfile import PidFile
from twemproxy.supervisor.processors import follow_processors, processors
from twemproxy.supervisor.reporting import Reporting
from twemproxy.supervisor.served_config import ReloadFailed, ServedConfig
from twemproxy.supervisor.service_manager import ServiceManager
from twemproxy.supervisor.stats_log import StatsLog
from twemproxy.supervisor.upgrade import UpgradeFailed, check, execute
from twemproxy.supervisor.watch import Identity, identity, watch
from twemproxy.supervisor.workers import Workers

SETTLE_SHARE: Final = 0.8
"""Fraction of the drain time for which pools keep serving at most, until the requests in flight have replies."""
CUT_OFF_SHARE: Final = 0.95
"""Fraction of the drain time after which remaining clients are closed, so that the process exits in time."""
PATIENCE_SHARE: Final = 0.2
"""Fraction of the drain time after which requests to a silent server fail and a client that reads nothing is closed."""

SETTLING_TIME: Final = 15.0
"""Seconds beside the drain time for which an upgrade waits until no worker starts or ends."""
SETTLING_INTERVAL: Final = 0.02
"""Seconds between two looks at that."""

LEAST_NOTICE: Final = 1
"""Seconds within which clients are told to connect again when there is no ``drain_delay``."""


PAUSE_TIME: Final = 1.0
"""Seconds for which an upgrade waits, at most, for readers of the statistics, and for sub-commands."""
TURNS_OF_SIGNALS: Final = 5
"""Turns of the event loop after which each signal that has arrived was handled."""
STARTS: Final = "the proxy starts"
STOPS: Final = "the proxy stops"
"""Why something is refused."""

T = TypeVar("T")

_logger = log.get_logger(__name__)


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that are blocked when the proxy has stopped, because nothing is left to do for them."""


def run(
    options: Options,
    *,
    program: WorkerProgram = PYTHON_WORKER,
    early: EarlyWorker | None = None,
) -> int:
    """Run the proxy until a signal stops it; returns the exit status: 0, or 1 if it could not start or continue.

    ``early``: the first worker or the fork server, if it was started already. If the process was another version of the
    program before, go on where that version was.

    The reason of a failure is written to standard error, and to the log file if there is one.
    """
    try:
        log.configure(LogSettings(options.log_level, options.log_path, options.log_format))
    except log.LogError as error:
        tell(str(error))
        return 1
    # The debug messages of asyncio are about asyncio, not about the proxy.
    log.get_logger("asyncio").setLevel(log.WARN)
    inheritance = taken()
    if inheritance is not None:
        log.set_level(inheritance.log_level)
    elif options.daemonize:
        daemonize()
    try:
        return asyncio.run(Supervisor(options, program, inheritance, early).run())
    finally:
        if early is not None:
            early.discard()


class Supervisor:
    """One run of the proxy."""

    def __init__(
        self,
        options: Options,
        program: WorkerProgram,
        inheritance: Inheritance | None = None,
        early: EarlyWorker | None = None,
    ) -> None:
        self._inheritance = inheritance
        self._early = early
        self._stats_listener: Listener | None = None
        self._stats_port: StatsPort | None = None
        self._control_listener: Listener | None = None
        self._control: ControlSocket | None = None
        self._options = options
        self._worker_count = options.workers if inheritance is None else inheritance.worker_count
        self._program = program
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._is_draining = False
        self._workers: Workers | None = None
        self._stats_log: StatsLog | None = None
        self._served: ServedConfig | None = None
        self._reloads: set[asyncio.Task[list[str]]] = set()
        self._upgrades: set[asyncio.Task[str]] = set()
        self._resizes: set[asyncio.Task[str]] = set()
        self._upgrading = 0
        self._reload_when_started = False
        self._manager = ServiceManager()
        self._file: Identity | None = None
        self._reporting: Reporting | None = None

    async def run(self) -> int:
        """Run the proxy as ``run`` of the module does; the log must be open. Returns the exit status."""
        asyncio.get_running_loop().set_exception_handler(log_exception)
        self._watch_signals()
        # A former version of the program has blocked all signals until they are handled.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
        try:
            return await self._run()
        finally:
            if self._workers is not None:
                await self._workers.stop_fork_server()
            # While the event loop closes, a signal would meet a handler that is partly removed, or kill the process.
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)

    async def _run(self) -> int:
        with ExitStack() as held:
            try:
                if self._options.pid_file:
                    pid_file = PidFile(self._options.pid_file, exists=self._inheritance is not None)
                    held.callback(pid_file.remove)
                log_banner(self._inheritance)
                await self._serve(held)
            except ConfigError as error:
                for line in error.lines():
                    self._explain(line)
                if error.line:
                    tell(f"nutcracker: configuration file '{self._options.conf_file}' syntax is invalid")
                return 1
            except StartError as error:
                self._explain(str(error))
                return 1
        log.always("nutcracker-%(version)s on pid %(pid)d is done", {"version": __version__, "pid": os.getpid()})
        return 0

    async def _serve(self, held: ExitStack) -> None:
        """Open the sockets, run the workers, and return when they have exited."""
        inherited = self._inheritance
        self._file = identity(self._options.conf_file) if inherited is None else inherited.watched
        if inherited is None:
            config = load(self._options.conf_file, workers=self._worker_count or processors())
        else:
            config = inherited.config
        _logger.log(log.NOTICE, "configuration file '%(path)s'", {"path": self._options.conf_file})
        try:
            served = ServedConfig(config, self._options, self._manager, inherited)
        except OSError as error:
            raise StartError(f"no memory for the counters: {error.strerror}") from error
        self._reporting = Reporting(served, self._why_not_ready, bool(self._options.metrics_compat))
        stats_port = StatsPort(self._reporting.document, self._reporting.pages())
        if inherited is None:
            stats_listener = listen_for_stats(self._options.stats_addr, self._options.stats_port)
        else:
            stats_listener = Listener.take_over(inherited.stats)
        self._stats_listener = stats_listener
        with ExitStack() as doors:
            doors.callback(stats_listener.close)
            await stats_port.open(stats_listener.socket)
            self._stats_port = stats_port
            doors.callback(stats_port.close)
            served.listeners.open(config)
            for address in served.listeners.unused():
                text = "no pool listens on %(address)s, of which the service manager has passed a socket"
                _logger.warning(text, {"address": address})
            doors.callback(served.listeners.close_all)
            workers = self._make_workers(served)
            self._stats_log = StatsLog(self._options.stats_interval, served.statistics.take)
            held.callback(self._stats_log.stop)
            self._served = served
            await self._open_control_socket(held)
            if self._reload_when_started:
                self._reload()
            await self._run_workers(workers, config, doors)
            await served.access_log.finish()

    async def _open_control_socket(self, held: ExitStack) -> None:
        """Open the control socket, if there is one; it stays open while the proxy stops."""
        if not self._options.control_socket:
            return
        if self._inheritance is not None and self._inheritance.control is not None:
            listener = Listener.take_over(self._inheritance.control)
        else:
            listener = listen_for_control(self._options.control_socket)
        held.callback(listener.close)
        self._control_listener = listener
        self._control = ControlSocket(self._answer)
        await self._control.open(listener.socket)
        held.callback(self._control.close)

    async def _answer(self, request: Request, connection: int) -> Answer:
        """The answer to a sub-command. ``connection``: the descriptor of its connection."""
        served, workers, reporting = self._served, self._workers, self._reporting
        if served is None or workers is None or reporting is None:
            return Refused((STARTS,))
        match request:
            case Describe():
                return Served(
                    version=__version__,
                    pid=os.getpid(),
                    config=served.config,
                    conf_file=served.path,
                    status=served.status,
                    ready=not self._why_not_ready(),
                )
            case Reload() | Upgrade() | Resize() if self._stopping.is_set():
                return Refused((STOPS,))
            case Reload() | Upgrade() | Resize() if self._upgrading:
                return Refused(("the proxy is being upgraded: try again when that has ended",))
            case Upgrade():
                log.always("upgrading, as nutcracker upgrade says")
                problem = await self._change(self._upgrade(connection), self._upgrades)
                return Refused((STOPS if problem is None else problem,))
            case Resize():
                problem = ""
                if request.workers is not None:
                    wanted = request.workers or processors()
                    if problem := shortage_in(served.config, wanted):
                        return Refused((problem,))
                    self._worker_count = request.workers
                    log.always(
                        "changing the number of workers to %(wanted)d, as nutcracker workers says", {"wanted": wanted}
                    )
                    problem = await self._change(self._resize(served, workers, wanted), self._resizes) or ""
                return Refused((problem,)) if problem else Resized(len(workers.slots), self._worker_count == 0)
            case Reload():
                log.always("reloading the configuration, as nutcracker reload says")
                try:
                    lines = await self._change(served.reload(request.fingerprint), self._reloads)
                except ReloadFailed as error:
                    return Refused(error.reasons)
                return Refused((STOPS,)) if lines is None else Reloaded(tuple(lines), served.status)
            case LogLevel():
                if request.level is not None:
                    self._set_level(request.level)
                return LogLevelIs(log.current_level())
            case _:
                return await answer(request, served, workers, reporting)

    def _why_not_ready(self) -> str:
        """Why the proxy takes no clients, or will soon take none; empty if it takes them."""
        if self._stopping.is_set():
            return STOPS
        return "" if self._workers is not None and self._workers.are_ready() else STARTS

    async def _change(self, change: Coroutine[Any, Any, T], running: set[asyncio.Task[T]]) -> T | None:
        """Return the result of a change, which is in ``running`` meanwhile; None if the proxy stops before its end."""
        task = asyncio.create_task(change)
        running.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            return None
        finally:
            running.discard(task)

    async def _resize(self, served: ServedConfig, workers: Workers, count: int) -> str:
        """Have ``count`` workers; returns why that failed, empty if it did not."""
        async with served.changing:
            # A reload may have changed it meanwhile.
            problem = shortage_in(served.config, count) or await workers.resize(count, self._options.drain_time)
        fields = {"workers": len(workers.slots), "wanted": count, "reason": problem}
        if problem:
            _logger.error("there are %(workers)d workers instead of %(wanted)d: %(reason)s", fields)
        else:
            _logger.log(log.NOTICE, "there are %(workers)d workers", {"workers": len(workers.slots)})
        return problem

    async def _follow_processors(self, served: ServedConfig, workers: Workers) -> None:
        """Have as many workers as processors, if that is wanted, also when their number changes."""
        await follow_processors(
            lambda: len(workers.slots) if self._worker_count == 0 and not self._upgrading else 0,
            lambda count: shortage_in(served.config, count),
            partial(self._resize, served, workers),
        )

    async def _upgrade(self, answer_to: int = -1) -> str:
        """Become the program that is installed now; returns why that failed.

        ``answer_to``: the descriptor of the connection of the sub-command that waits for the end, -1 without one.
        """
        served, stats, workers = self._served, self._stats_listener, self._workers
        if served is None or stats is None or workers is None:
            return STARTS
        native = self._program.path == NATIVE_WORKER.path
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._upgrading += 1
        try:
            async with served.changing:
                # The other version opens the log, and ends if it cannot.
                log.reopen()
                await self._wait_settled(workers)
                await check(self._bequeath(served, workers, stats, -1), native)
                await self._pause_ports(answer_to)
                await self._wait_settled(workers)
                await served.access_log.pause()
                # The other version has its own fork server.
                await workers.stop_fork_server()
                # Signals that have arrived by now are handled here, those that arrive later by the other version.
                signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
                for _ in range(TURNS_OF_SIGNALS):
                    await asyncio.sleep(0)
                execute(self._bequeath(served, workers, stats, answer_to), native)
        except (UpgradeFailed, log.LogError) as error:
            _logger.error("upgrade failed, the running version goes on: %(reason)s", {"reason": error})
            return str(error)
        finally:
            self._upgrading -= 1
            served.access_log.begin()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            if not self._stopping.is_set():
                workers.start_fork_server()
            await self._resume_ports()

    async def _pause_ports(self, answer_to: int) -> None:
        """Let readers of the statistics and sub-commands wait for the other version; those that are here get answers.

        ``answer_to``: see ``_upgrade``.
        """
        if self._stats_port is not None:
            await self._stats_port.pause(PAUSE_TIME)
        if self._control is not None:
            await self._control.pause(PAUSE_TIME, answer_to)

    async def _resume_ports(self) -> None:
        for port in (self._stats_port, self._control):
            if port is not None:
                await port.resume()

    async def _wait_settled(self, workers: Workers) -> None:
        """Wait until each worker is ready, and none is being replaced. Raises UpgradeFailed if that takes too long."""
        deadline = time.monotonic() + self._options.drain_time + SETTLING_TIME
        while not workers.are_settled():
            if time.monotonic() > deadline:
                raise UpgradeFailed("a worker does not become ready, or does not end: try again")
            await asyncio.sleep(SETTLING_INTERVAL)

    def _bequeath(self, served: ServedConfig, workers: Workers, stats: Listener, answer_to: int) -> Inheritance:
        """What another version needs to go on. Raises UpgradeFailed if this is not the time for an upgrade."""
        if self._stopping.is_set():
            raise UpgradeFailed(STOPS)
        inherited = []
        for slot in workers.slots:
            found = slot.process()
            if found is None or not workers.are_settled():
                raise UpgradeFailed("a worker has just ended: try again")
            process, memory = found
            inbox = (slot.inbox[0].fileno(), slot.inbox[1].fileno())
            inherited.append(InheritedWorker(slot.number, process.pid, process.descriptor, memory.descriptor, inbox))
        return Inheritance(
            protocol=PROTOCOL,
            version=__version__,
            config=served.config,
            status=served.status,
            started=served.statistics.started,
            log_level=log.current_level(),
            layout=served.statistics.slots.layout(),
            ended=served.statistics.ended.metrics(served.statistics.slots),
            ended_histograms=served.statistics.ended.histograms(served.statistics.slots),
            shared=served.statistics.shared.descriptor,
            pools=served.listeners.inheritance(),
            passed=served.listeners.passed(),
            stats=stats.inheritance(),
            control=None if self._control_listener is None else self._control_listener.inheritance(),
            workers=tuple(inherited),
            worker_count=self._worker_count,
            answer_to=answer_to,
            reload=bool(self._reloads),
            ejections=served.ejections.all(),
            watched=self._file,
            events=served.statistics.events.all(),
            access_log=served.access_log.pipe,
        )

    async def _take_over(self, workers: Workers, inheritance: Inheritance) -> None:
        """Replace the workers of the former version; then tell the sub-command that waits for that."""
        served = self._served
        assert served is not None
        async with served.changing:
            problem = await workers.replace(self._options.drain_time)
        events = served.statistics.events
        fields = {"version": __version__, "former_version": inheritance.version, "reason": problem}
        if problem:
            events.add("upgrade", f"the workers of version {inheritance.version} go on: {problem}")
            _logger.error("upgrade: the workers of version %(former_version)s go on: %(reason)s", fields)
        else:
            del fields["reason"]
            events.add("upgrade", f"version {__version__} has taken over from version {inheritance.version}")
            log.always("upgrade: version %(version)s has taken over from version %(former_version)s", fields)
        if inheritance.answer_to >= 0:
            answer = Refused((problem,)) if problem else Upgraded(inheritance.version, __version__)
            with suppress(OSError), socket.socket(fileno=inheritance.answer_to) as connection:
                connection.sendall(encode(answer))
        if inheritance.reload:
            self._reload()

    def _make_workers(self, served: ServedConfig) -> Workers:
        workers = self._workers = Workers(self._program, served.statistics, served.start, self._early)
        self._early = None
        if self._inheritance is None:
            for _ in range(self._worker_count or processors()):
                workers.add()
        else:
            for worker in self._inheritance.workers:
                memory = served.statistics.add(CounterMemory(worker.counters, *served.places))
                workers.adopt(worker, memory)
        served.workers = workers.slots
        return workers

    async def _run_workers(self, workers: Workers, config: Config, doors: ExitStack) -> None:
        """Run the workers until all have exited.

        When the proxy is stopped or a worker fails, close ``doors``, the listening sockets and the statistics port, and
        drain the workers.
        """
        workers.begin()
        failed = asyncio.create_task(workers.wait_failed())
        stop = asyncio.create_task(self._stopping.wait())
        announcement = asyncio.create_task(self._announce(workers, config))
        others = [asyncio.create_task(self._watch()), asyncio.create_task(self._manager.report_life(workers.are_ready))]
        if self._served is not None:
            others.append(asyncio.create_task(self._follow_processors(self._served, workers)))
            interval = self._options.stats_interval / 1000
            others.append(asyncio.create_task(self._served.skew.watch(workers.wait_ready, interval)))
        if self._inheritance is not None:
            others.append(asyncio.create_task(self._take_over(workers, self._inheritance)))
        try:
            await asyncio.wait([stop, failed], return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.is_set():
                self._manager.stopping()
                self._tell_workers(Announce(event_number(), max(self._options.drain_delay, LEAST_NOTICE)))
                await self._delay(failed)
        finally:
            stop.cancel()
            announcement.cancel()
            for task in others:
                task.cancel()
            for change in (*self._reloads, *self._upgrades, *self._resizes):
                change.cancel()
        rest = await self._quiesce(workers, failed) if self._stopping.is_set() else 0
        failed.cancel()
        doors.close()
        self._drain(rest)
        await workers.wait_ended()

    async def _delay(self, failed: "asyncio.Task[None]") -> None:
        """Go on for ``drain_delay``: load balancers learn that the proxy is not ready, and some clients come late.

        ``failed``: ends if the proxy cannot go on.
        """
        if self._options.drain_delay:
            hurry = asyncio.create_task(self._hurrying.wait())
            await asyncio.wait([hurry, failed], timeout=self._options.drain_delay, return_when=asyncio.FIRST_COMPLETED)
            hurry.cancel()

    async def _watch(self) -> None:
        """Reload when the configuration file was changed, if the options say so."""
        if self._options.watch and self._served is not None:
            await watch(self._served.path, self._file, self._reload_changed)

    async def _reload_changed(self, file: Identity) -> None:
        log.always("the configuration file was changed, reloading it")
        if self._served is not None:
            with suppress(ReloadFailed):  # it is in the log
                await self._served.reload()
        self._file = file

    async def _quiesce(self, workers: Workers, failed: "asyncio.Task[None]") -> float:
        """Have the workers answer the requests in flight while they keep serving; returns the seconds left to drain.

        So the time in which no client is accepted is short, even if a server or a client delays the exit. ``failed``:
        as in ``_delay``.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        workers.quiesce(self._patience)
        quiesced = asyncio.create_task(workers.wait_quiesced())
        hurry = asyncio.create_task(self._hurrying.wait())
        await asyncio.wait(
            [quiesced, hurry, failed],
            timeout=SETTLE_SHARE * self._options.drain_time,
            return_when=asyncio.FIRST_COMPLETED,
        )
        quiesced.cancel()
        hurry.cancel()
        if self._hurrying.is_set():
            return 0
        return CUT_OFF_SHARE * self._options.drain_time - (loop.time() - started)

    @property
    def _patience(self) -> float:
        return PATIENCE_SHARE * self._options.drain_time

    def _drain(self, timeout: float) -> None:
        self._is_draining = True
        if self._workers is not None:
            self._workers.drain(max(timeout, 0), self._patience)

    async def _announce(self, workers: Workers, config: Config) -> None:
        """Wait until all workers accept clients, then log it."""
        await workers.wait_ready()
        if self._stats_log is not None:
            self._stats_log.follow_level()
        where = ", ".join(f"{pool.name} on {pool.listen.text}" for pool in config.pools)
        _logger.log(log.NOTICE, "ready: %(pools)s", {"pools": where})
        self._manager.ready()
        if self._served is not None:
            self._served.identify()
            if self._inheritance is None:
                self._served.statistics.events.add("start", f"version {__version__} is ready")

    def _watch_signals(self) -> None:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_IGN)
        loop = asyncio.get_running_loop()
        actions: tuple[tuple[signal.Signals, str, Callable[[], None] | None], ...] = (
            (signal.SIGUSR1, ", reloading the configuration", self._reload),
            (signal.SIGUSR2, ", upgrading", self._begin_upgrade),
            (signal.SIGTTIN, ", up logging level", lambda: self._set_level(log.current_level() + 1)),
            (signal.SIGTTOU, ", down logging level", lambda: self._set_level(log.current_level() - 1)),
            (signal.SIGHUP, ", reopening log file", self._reopen_log),
            (signal.SIGINT, ", exiting", self._stop),
            (signal.SIGTERM, ", exiting", self._stop),
        )
        for number, suffix, action in actions:
            loop.add_signal_handler(number, self._on_signal, number, suffix, action)

    def _on_signal(self, number: signal.Signals, suffix: str, action: Callable[[], None] | None) -> None:
        log.always(f"signal {number:d} (%(signal)s) received{suffix}", {"signal": number.name})
        if action is not None:
            action()

    def _set_level(self, level: int) -> None:
        before = log.current_level()
        log.set_level(level)
        level = log.current_level()
        if level == before:
            return
        log.always(f"{'up' if level > before else 'down'} log level to %(log_level)d", {"log_level": level})
        self._tell_workers(SetLogLevel(level))
        if self._stats_log is not None:
            self._stats_log.follow_level()

    def _reopen_log(self) -> None:
        try:
            log.reopen()
        except log.LogError as error:
            _logger.error("%(reason)s", {"reason": error})
        if self._served is not None:
            self._served.access_log.reopen()
        self._tell_workers(ReopenLog())

    def _begin_upgrade(self) -> None:
        """Begin an upgrade, unless the proxy stops or has not started yet."""
        if self._served is None or self._stopping.is_set():
            _logger.warning("not upgraded: %(reason)s", {"reason": STARTS if self._served is None else STOPS})
        else:
            task = asyncio.create_task(self._upgrade())
            self._upgrades.add(task)
            task.add_done_callback(self._upgrades.discard)

    def _reload(self) -> None:
        """Begin to reload the configuration, at the end of the start at the earliest, unless the proxy stops."""
        if self._stopping.is_set():
            _logger.warning("not reloaded: %(reason)s", {"reason": STOPS})
        elif self._served is None:
            self._reload_when_started = True
        else:
            task = asyncio.create_task(self._served.reload())
            self._reloads.add(task)
            task.add_done_callback(self._reload_ended)

    def _reload_ended(self, task: asyncio.Task[list[str]]) -> None:
        self._reloads.discard(task)
        if not task.cancelled() and not isinstance(task.exception(), ReloadFailed):  # which is in the log
            task.result()

    def _stop(self) -> None:
        """Stop the proxy by draining the workers; a second call ends the drain at once."""
        if self._stopping.is_set():
            self._hurrying.set()
            if self._is_draining:
                self._drain(0)
        self._stopping.set()

    def _tell_workers(self, message: ToWorker) -> None:
        if self._workers is not None:
            self._workers.send(message)

    def _explain(self, reason: str) -> None:
        """Report why the proxy does not run: on standard error, and in the log file if there is one."""
        tell(f"nutcracker: {reason}")
        if self._options.log_path:
            _logger.error("%(reason)s", {"reason": reason})
