"""A server that gets more than its part of the requests or keys: in the log, for sub-commands and in the report."""

import json
from collections.abc import Callable
from typing import Any

from harness.http import report_of
from harness.proxy import Proxy, keys_of, redis_pool, run
from harness.resp import command
from harness.servers import RedisServer
from harness.waiting import wait_until

REQUESTS = 300
"""In one write, more than 1000 in ten intervals."""


def skew_events(proxy: Proxy) -> list[dict[str, Any]]:
    """The lines of the log about skew."""
    events = [json.loads(line) for line in proxy.log().splitlines()]
    return [event for event in events if event["module"] == "supervisor.skew"]


def ask_until(proxy: Proxy, keys: list[str], condition: Callable[[], object], what: str) -> None:
    """Read these keys in turn until the condition holds."""
    client = proxy.client()
    requests = b"".join(command("GET", keys[number % len(keys)]) for number in range(REQUESTS))

    def ask() -> object:
        client.send(requests)
        client.replies(REQUESTS)
        return condition()

    wait_until(ask, what)
    client.close()


def test_a_hot_key(servers: list[RedisServer]) -> None:
    pools = {"alpha": redis_pool(*servers), "beta": redis_pool(*servers)}
    [hot] = keys_of(1, 3)
    even = [key for index in range(3) for key in keys_of(index, 3)]
    with Proxy(pools, "-i", "100", "-f", "json", "-w", "2") as proxy:
        control = ("-C", str(proxy.control_socket))
        ask_until(proxy, [hot], lambda: skew_events(proxy), "the log has a warning")
        [event] = skew_events(proxy)
        assert (event["level"], event["pool"], event["server"], event["excess"]) == ("WARN", "alpha", "s01", 3.0)
        assert event["traffic"] > 0.99 and round(event["share"], 3) == 0.333
        assert event["message"].startswith("alpha: server 's01' gets 3 times its share of the requests: ")

        servers_shown = json.loads(run("servers", *control, "--json").stdout)["servers"]
        skewed = [(server["pool"], server["name"]) for server in servers_shown if server["is_skewed"]]
        assert skewed == [("alpha", "s01")]
        [line] = [line for line in run("servers", *control, "--pool", "alpha").stdout.splitlines() if " s01 " in line]
        assert line.endswith("live, gets 3.0 times its share of the requests")
        [alpha] = [pool for pool in report_of(proxy)["pools"] if pool["name"] == "alpha"]
        assert [(server["name"], server["is_skewed"]) for server in alpha["servers"]] == [
            ("s00", False),
            ("s01", True),
            ("s02", False),
        ]
        assert round(alpha["servers"][1]["excess"], 1) == 3.0
        assert "alpha: s01 gets 3.0 times its share" in run("top", *control, "--once", "-i", "0.2").stdout

        ask_until(proxy, even, lambda: len(skew_events(proxy)) > 1, "the log has the end")
        [_, end] = skew_events(proxy)
        assert (end["level"], end["pool"], end["server"]) == ("NOTICE", "alpha", "s01")
        assert end["excess"] <= 1.5
        assert "its share" not in run("servers", *control).stdout


def test_uneven_shares_of_the_keys(servers: list[RedisServer]) -> None:
    uneven = {**redis_pool(*servers), "distribution": "ketama", "hash": "crc32"}
    with Proxy(redis_pool(*servers), "-i", "0", "-f", "json") as proxy:
        proxy.reload(uneven)
        wait_until(lambda: skew_events(proxy), "the log has a warning")
        [event] = skew_events(proxy)
    assert (event["level"], event["pool"], event["share"], event["excess"]) == ("WARN", "alpha", 1.0, 3.0)
    assert event["message"].endswith("3 times its share of the keys by weight: nutcracker check says why")
