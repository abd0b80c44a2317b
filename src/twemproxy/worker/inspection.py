"""What a worker knows of its pools beside the counters: slow requests and hot keys. Plain Python."""

from typing import Any, Final

from twemproxy.ipc.messages import HotKey, Inspection, SlowRequest

HOT_KEYS: Final = 50
"""Hot keys of each pool that are told."""


def inspect(data_plane: Any) -> tuple[Inspection, ...]:
    """An Inspection of each pool. ``data_plane``: a ``worker.data_plane.DataPlane``."""
    now = data_plane.loop.real
    return tuple(
        Inspection(
            pool.config.name,
            tuple(map(_slow_request, pool.slow_log.requests)),
            tuple(_hot_key(pool, *row) for row in pool.hot_keys.top(HOT_KEYS, now)),
        )
        for pool in data_plane.pools
    )


def _slow_request(noted: Any) -> SlowRequest:
    shown = noted.arguments or [noted.command.encode()]
    command = tuple(map(_text, shown))
    return SlowRequest(noted.at, command, noted.server, noted.client, noted.waiting, noted.server_time, noted.writing)


def _hot_key(pool: Any, key: bytes, requests: float, error: float, size: float, largest: int) -> HotKey:
    server = pool.server_of(key).name if pool.is_open() else ""
    return HotKey(_text(key), server, requests, error, size, largest)


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")
