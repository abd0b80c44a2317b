"""One proxy for many tests: a reload adds the pools of a test to its configuration, another one removes them.

A reload takes milliseconds, the start of a proxy takes tenths of a second. A test needs a ``Proxy`` of its own when it
starts, stops, signals or upgrades the proxy, sets options of the command line, or measures its memory.

A proxy keeps the counters of pools that are removed, and has room for those of some thousand servers. That is several
times as many as all tests have together.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path

from harness.connection import accepts_at
from harness.proxy import CRASHED, PoolDirectives, Proxy, ServedPools, pools_by_name
from harness.waiting import wait_until

_IDLE = {"servers": ["127.0.0.1:1:1"]}
"""A pool without clients: a configuration has at least one pool."""


class ConfiguredPools(ServedPools):
    """The pools of one test, while a shared proxy serves them.

    The proxy serves each pool under a name that no other test has, so its counters begin at 0; the test names it as in
    its configuration. The counters of the process are those of all tests.
    """

    def __init__(
        self,
        pools: Mapping[str, PoolDirectives] | PoolDirectives,
        proxy: Proxy,
        served_names: Mapping[str, str],
        output: Sequence["_Growth"],
    ) -> None:
        """``proxy``: serves ``pools`` under ``served_names``. ``output``: its log and standard error for them."""
        super().__init__(pools)
        self.process = proxy.process
        self.directory = proxy.directory
        self.stats_port = proxy.stats_port
        self.listens = {name: proxy.listens[served_names[name]] for name in self.pools}
        self._served_names = served_names
        self._output = output

    def log(self) -> str:
        """What the proxy has logged since the beginning of the reload that has added the pools."""
        return self._output[0].text()

    def output(self) -> str:
        """The log and standard error since then, to explain a failure."""
        return _text(self._output)

    def served_name(self, pool: str = "") -> str:
        return self._served_names[super().served_name(pool)]


Configure = Callable[[Mapping[str, PoolDirectives] | PoolDirectives], AbstractContextManager[ConfiguredPools]]
"""``SharedProxy.configured``."""


class SharedProxy:
    """A proxy that starts when the first pools are to be served, and again if it has died; ``stop`` stops it."""

    def __init__(self, command: Sequence[str] = ()) -> None:
        """``command``: this instead of the command under test, with the same options."""
        self._command = command
        self._proxy: Proxy | None = None
        self._pools: dict[str, PoolDirectives] = {"idle": _IDLE}
        self._unchecked: Sequence[_Growth] = ()
        self._numbers = count(1)

    @contextmanager
    def configured(self, pools: Mapping[str, PoolDirectives] | PoolDirectives) -> Iterator[ConfiguredPools]:
        """Serve these pools besides all others until the context ends; ``pools``: as for ``Proxy``.

        At the end their clients are closed. It is an error if a part of the proxy has crashed in the meantime.
        """
        if self._proxy is None:
            # In its directory, as ``Proxy.control_socket``.
            self._proxy = Proxy({"idle": _IDLE}, "-C", "control.sock", command=self._command)
            # It opens after the sockets of the pools.
            control = str(self._proxy.control_socket)
            wait_until(lambda: accepts_at(control), "the control socket is open")
            self._unchecked = _output(self._proxy)
        proxy = self._proxy
        number = next(self._numbers)
        served_names = {name: f"{name}-{number}" for name in pools_by_name(pools)}
        self._pools |= {served_names[name]: directives for name, directives in pools_by_name(pools).items()}
        output = _output(proxy)
        try:
            proxy.serve(self._pools)
            configured = ConfiguredPools(pools, proxy, served_names, output)
            try:
                yield configured
            except BaseException:
                print(f"--- what the proxy said ---\n{configured.output()}")
                raise
            finally:
                configured.close_clients()
        finally:
            for name in served_names.values():
                del self._pools[name]
            # Another proxy serves later tests if this one has died in the meantime.
            if proxy is self._proxy:
                if proxy.process.poll() is not None:
                    self.stop()
                proxy.serve(self._pools)
                self._check(proxy)

    def _check(self, proxy: Proxy) -> None:
        """AssertionError if a part of the proxy has crashed since the last check; it goes on with another worker."""
        crash = CRASHED.search(_text(self._unchecked))
        self._unchecked = _output(proxy)
        if crash:
            proxy.expects_crash = True
            raise AssertionError(f"a part of the proxy had crashed: {crash[0]}")

    def stop(self) -> None:
        """Stop the proxy; harmless if it does not run. AssertionError if it has died."""
        if self._proxy is not None:
            proxy, self._proxy = self._proxy, None
            with proxy:
                pass


class _Growth:
    """What is appended to a file from now on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = path.stat().st_size if path.exists() else 0

    def text(self) -> str:
        with self._path.open("rb") as file:
            file.seek(self._start)
            return file.read().decode(errors="replace")


def _output(proxy: Proxy) -> Sequence[_Growth]:
    """The log and standard error of a proxy from now on."""
    return _Growth(proxy.log_path), _Growth(proxy.stderr_path)


def _text(output: Sequence[_Growth]) -> str:
    return "".join(each.text() for each in output)
