"""Log messages of a pool."""

import socket

import pytest

from twemproxy.protocol.foreign import NAMES
from twemproxy.proxy import pool_log
from twemproxy.proxy.pool_log import TELL_INTERVAL, PoolLog


def test_clients_of_another_protocol_are_told_of_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(pool_log._logger, "warning", lambda text, fields: told.append(text % fields))
    log = PoolLog("alpha", redis=True)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for moment in (1000, 1001, 1000 + TELL_INTERVAL - 1, 1000 + TELL_INTERVAL, 1000 + 2 * TELL_INTERVAL):
            log.client_speaks(ours.fileno(), NAMES.index("HTTP"), moment)
    about = "client unix of pool alpha speaks HTTP, this port serves redis: closed"
    assert told == [about, f"{about} (2 such clients since the last such message)", about]
