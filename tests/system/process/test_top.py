"""``nutcracker top`` of a running proxy."""

import json
import subprocess

from harness.proxy import Proxy, environment, redis_pool, under_test
from harness.servers import RedisServer
from harness.terminal import Terminal


def once(proxy: Proxy, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*under_test(), "top", "-C", str(proxy.control_socket), "-i", "0.2", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        env=environment(),
    )


def test_top(servers: list[RedisServer]) -> None:
    with Proxy({"alpha": redis_pool(*servers), "beta": redis_pool(servers[0])}) as proxy:
        command = [*under_test(), "top", "-C", str(proxy.control_socket), "-i", "0.2"]
        with proxy.client("alpha") as client, Terminal(command) as terminal:
            # Requests go on until a frame shows them.
            def is_shown(shown: Terminal) -> bool:
                client.ask("SET", "key", "value")
                return shown.field("alpha ", 3) not in ("", "-", "0") and shown.field("beta ", 3) == "0"

            terminal.wait(is_shown)
            assert terminal.field("alpha ", 1) == "3/3"
            terminal.press("enter")
            terminal.wait(lambda shown: shown.line("SERVER") and shown.line("s02"))
            terminal.press("q")
            assert terminal.ended() == 0


def test_once(servers: list[RedisServer]) -> None:
    with (
        Proxy({"alpha": redis_pool(*servers), "beta": redis_pool(servers[0])}) as proxy,
        proxy.client("beta") as client,
    ):
        client.ask("SET", "key", "value")
        shown = once(proxy, "--once").stdout.splitlines()
        assert shown[0].startswith("nutcracker ")
        assert f"pid {proxy.process.pid}" in shown[0]
        assert [line.split()[0] for line in shown[-2:]] == ["alpha", "beta"]
        assert shown[-1].split()[1:4] == ["1/1", "1", "0"]
        document = json.loads(once(proxy, "--json", "--pool", "alpha").stdout)
        assert [server["name"] for server in document["pools"][0]["servers"]] == ["s00", "s01", "s02"]
        assert document["clients"] == 1


def test_a_proxy_that_stops(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(servers[0])) as proxy:
        command = [*under_test(), "top", "-C", str(proxy.control_socket), "-i", "0.2"]
        with Terminal(command) as terminal:
            terminal.wait(lambda shown: "q quit" in shown.lines[-1])
            proxy.terminate()
            terminal.wait(lambda shown: shown.lines[-1].startswith("no answer since"))
            terminal.press("q")
            assert terminal.ended() == 0
    gone = once(proxy, "--once")
    assert gone.returncode == 1
    assert "no proxy answers at" in gone.stderr
