"""The log as JSON: every line of every process, whatever happens to the proxy."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from harness.proxy import Proxy, redis_pool
from harness.resp import OK
from harness.servers import RedisServer
from harness.waiting import wait_until


def events(path: Path) -> list[dict[str, Any]]:
    """The events of a log; each line must be one JSON object with the fields that all have."""
    found = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert all(event.keys() >= {"time", "level", "module", "message"} for event in found)
    return found


def says(proxy: Proxy, text: str) -> bool:
    return text in proxy.log()


def test_every_line_of_every_process_is_json(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(servers[0]), "-v", "6", "--log-format", "json", "-w", "2") as proxy:
        proxy.expects_crash = True
        assert proxy.client().ask("SET", "a", "1") == OK
        wait_until(lambda: says(proxy, "connected to server"), "a worker logs")
        proxy.reload(redis_pool(*servers[:2]))
        former = proxy.processes()
        proxy.upgrade()
        assert proxy.client().ask("SET", "a", "1") == OK
        wait_until(lambda: not set(former[1:]) & set(proxy.processes()), "the former workers have ended")
        moved = proxy.log_path.rename(proxy.log_path.with_suffix(".1"))
        proxy.process.send_signal(signal.SIGHUP)
        wait_until(proxy.log_path.exists, "there is a new log file")
        before = events(moved)
        # A worker that is started later has the format, too.
        killed = next(event["worker_pid"] for event in reversed(before) if event["message"].endswith(" is ready"))
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: proxy.log().count("is ready") == 1, "another worker is ready")
        client = proxy.client()
        assert client.ask("SET", "a", "1") == OK
        number = client.sock.getsockname()[1]
        wait_until(lambda: says(proxy, f":{number}"), "the client is in the log")
        client.close()
        assert proxy.terminate() == 0
        after = events(proxy.log_path)

    [start] = [event for event in before if "started on pid" in event["message"]]
    assert start["level"] == "NOTICE" and start["module"] == "nutcracker"
    connected = next(event for event in before if "connected to server" in event["message"])
    assert connected["pool"] == "alpha" and connected["server_address"] == f"{servers[0].address}:1"
    assert connected["server"] == "s00" and connected["worker"] in (1, 2)
    assert start["pid"] == former[0] and start["version"]
    assert any(event.get("generation") == 2 for event in before)
    [added] = [event for event in before if event.get("server") == "s01" and "change" in event]
    assert added["pool"] == "alpha" and added["message"] == f"reload: {added['change']}"
    [upgraded] = [event for event in before if event["message"].startswith("upgrade: version ")]
    assert upgraded["version"] == upgraded["former_version"] == start["version"]
    [death] = [event for event in after if event["level"] == "ALERT"]
    assert f"worker {killed} was killed" in death["message"] and death["worker"] in (1, 2)
    [opened] = [event for event in after if event.get("client_address", "").endswith(f":{number}")]
    assert opened["pool"] == "alpha" and opened["client"] > 0
    assert after[-1]["message"].endswith("is done")


def test_ejection_has_pool_and_server(servers: list[RedisServer]) -> None:
    pool = redis_pool("127.0.0.1:1", auto_eject_hosts=True, server_failure_limit=1, server_retry_timeout=600000)
    with Proxy(pool, "-f", "json") as proxy:
        proxy.client().ask("GET", "a")
        wait_until(lambda: says(proxy, "ejected"), "the server is ejected")
        [event] = [event for event in events(proxy.log_path) if "ejected" in event["message"]]
    assert (event["level"], event["pool"], event["worker"]) == ("NOTICE", "alpha", 1)
    assert event["message"].startswith(f"alpha: server '{event['server']}' ejected")
    assert event["milliseconds"] == 600000
