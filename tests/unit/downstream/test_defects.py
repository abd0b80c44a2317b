"""An exception in the proxy's own code closes one connection, and leaves no memory behind."""

import pytest

from harness.resp import command
from twemproxy.protocol.redis import builtin_commands
from unit.in_process import InProcess


def fail(*_: object) -> bytes:
    raise RuntimeError("on purpose")


@pytest.mark.parametrize("split", [0, 5], ids=["whole", "in two parts"])
def test_a_defect_closes_the_client_and_leaks_nothing(split: int, monkeypatch: pytest.MonkeyPatch) -> None:
    request = command("LOLWUT") + b"x" * 30_000
    monkeypatch.setitem(builtin_commands.ANSWERS, b"lolwut", fail)
    held = []
    with InProcess(redis=True, servers=["127.0.0.1:1:1"]) as proxy:
        for _ in range(40):
            client = proxy.client()
            client.send(request[:split])
            proxy.call(lambda: None)
            client.sock.send(request[split:])
            client.expect_closed()
            held.append(proxy.call(lambda: proxy.data_plane.loop.blocks.allocated))
    # How the bytes arrive decides which sizes of blocks the pool keeps for later, but it does not keep one per client.
    assert held[-1] - held[3] < 10 * len(request)
