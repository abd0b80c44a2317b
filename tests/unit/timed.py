"""The time of a fake pool, which a test lets pass."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twemproxy.config.pools import PoolConfig
from twemproxy.net.timers import CallbackTimer, TimerWheel
from twemproxy.proxy.pool_settings import PoolSettings

NEVER = 2**63 - 1
# The parameters of the constructors are Cython's, which the type checker does not see.
make_wheel: Any = TimerWheel
make_timer: Any = CallbackTimer


def settings_of(config: Any) -> Any:
    """The times of a configuration, which may have only some directives, as in ``PoolSettings``: in microseconds."""
    if isinstance(config, PoolConfig):
        return PoolSettings(config)
    return SimpleNamespace(
        timeout=1000 * getattr(config, "timeout", 0),
        retry_timeout=1000 * getattr(config, "server_retry_timeout", 0),
        check_interval=1000 * getattr(config, "health_check_interval", 0),
    )


class Timed:
    """A pool with a clock of its own; ``time``: in microseconds."""

    def __init__(self) -> None:
        self.time = 5_000_000
        self._wheel = make_wheel(self.time)

    def now(self) -> int:
        return self.time

    def timer(self, callback: Callable[[], None]) -> Any:
        return make_timer(self._wheel, callback)

    def wait(self, microseconds: int) -> None:
        """Let time pass, and fire the timers that are due then."""
        self.time += microseconds
        self._wheel.advance(self.time)

    def has_work(self) -> bool:
        """Whether a timer is due."""
        return bool(self._wheel.next_at <= self.time)

    def next_at(self) -> int:
        """When the next timer is due; NEVER if none is armed."""
        return int(self._wheel.next_at)

    def wait_for(self, condition: Callable[[], object]) -> int:
        """Let time pass until the condition is true; returns how long that took."""
        began = self.time
        while not condition():
            assert self._wheel.next_at != NEVER, "no timer is armed"
            self.wait(max(self._wheel.next_at - self.time, 0))
        return self.time - began
