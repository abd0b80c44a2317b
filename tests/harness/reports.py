"""Random reports of a proxy, for tests of what shows them: the dashboard, and ``nutcracker top``."""

from random import Random
from typing import Any

from twemproxy.config.directives import DIRECTIVES
from twemproxy.stats.catalogue import (
    COMMAND_CLASSES,
    POOL_METRICS,
    POOL_PHASES,
    PROCESS_METRICS,
    SERVER_METRICS,
    SERVER_PHASES,
    Metric,
)
from twemproxy.stats.histograms import BOUNDS, bucket_of

Report = dict[str, Any]

START = 1_800_000_000.0
_WEIGHTS = {"read": 80, "write": 16, "script": 2, "blocking": 1, "other": 1}
_MEDIANS = {"waiting": 60, "server": 320, "writing": 30, "whole": 450}
"""Microseconds."""


class Reports:
    """A proxy that does not exist. ``advance`` makes requests happen; ``report`` is its report, as builtin types.

    A test may change what is in the report. The first server of each pool gets several times its share of the requests
    if ``is_skewed``.
    """

    def __init__(self, seed: int, *, pools: int = 2, servers: int = 8, is_skewed: bool = False) -> None:
        self._random = Random(seed)
        self._is_skewed = is_skewed
        self.report: Report = {
            "version": "0.6.0",
            "hostname": "proxy-7.example",
            "pid": 4711,
            "now": START,
            "started_at": START - 200_000,
            "ready": True,
            "config": {
                "file": "/etc/nutcracker/nutcracker.yml",
                "generation": 3,
                "fingerprint": "5a1f0c9e2b7d4411",
                "loaded_at": START - 4000,
                "last_reload": {"at": START - 4000, "failed": False, "text": "pool 'alpha': timeout 400 -> 300"},
            },
            "process": _zeros(PROCESS_METRICS),
            "workers": [{"number": number, "pid": 4712 + number} | _zeros(PROCESS_METRICS) for number in range(2)],
            "latency_bounds_us": list(BOUNDS),
            "pools": [self._pool(number, servers) for number in range(pools)],
            "events": [_event(START - 200_000, "start", "version 0.6.0")],
        }

    def _pool(self, number: int, servers: int) -> Report:
        name = ("alpha", "beta", "gamma", "delta")[number] if number < 4 else f"pool-{number}"
        shares = [self._random.uniform(0.8, 1.2) for _ in range(servers)]
        settings: Report = {directive.name: "" for directive in DIRECTIVES}
        settings |= {"timeout": 300, "auto_eject_hosts": True, "hash": "fnv1a_64", "redis": True}
        return {
            "name": name,
            "protocol": "memcached" if number % 2 else "redis",
            "listen": f"0.0.0.0:{22121 + number}",
            "hash": "fnv1a_64",
            "distribution": "ketama",
            "hash_tag": None,
            "ring_fingerprint": f"{self._random.getrandbits(64):016x}",
            "settings": settings,
            "changed": ["timeout", "auto_eject_hosts", "redis"],
            **_zeros(POOL_METRICS),
            "latency": {},
            "servers": [
                {
                    "name": f"cache-{position + 1}",
                    "address": f"10.0.{position // 250}.{position % 250 + 1}:6379",
                    "weight": 1,
                    "state": "live",
                    "ejected_since": None,
                    "ejected_why": "",
                    "share": share / sum(shares),
                    "excess": None,
                    "is_skewed": False,
                    **_zeros(SERVER_METRICS),
                    "latency": {},
                }
                for position, share in enumerate(shares)
            ],
            "hot_keys": [
                {"key": f"user:{self._random.randrange(10**6)}", "requests_per_second": 9_000 / (rank + 1),
                 "error": 1.5 * rank, "bytes_per_second": 4e6 / (rank + 1), "largest": 900 * rank,
                 "server": f"cache-{rank % servers + 1}"}
                for rank in range(10)
            ],
            "slow": [
                {"at": START - 60 * rank, "pool": name, "server": "cache-1", "client": f"10.1.0.{rank}:40000",
                 "command": ["ZRANGEBYSCORE", f"board:{rank}", "-inf", "+inf"], "whole_us": 90_000 - rank,
                 "waiting_us": 200, "server_us": 80_000, "writing_us": 9_800 - rank}
                for rank in range(6)
            ],
        }  # fmt: skip

    def advance(self, seconds: float, requests: int = 1000) -> Report:
        """Let this time pass, with about as many requests per pool. Returns the report."""
        report = self.report
        report["now"] += seconds
        for pool in report["pools"]:
            pool["client_connections"] = 200 + self._random.randrange(40)
            number = self._random.randrange(requests // 2, requests + requests // 2 + 1)
            weights = [server["share"] for server in pool["servers"]]
            if self._is_skewed:
                weights[0] *= 5
            weights = [
                weight if server["state"] == "live" else 0
                for weight, server in zip(weights, pool["servers"], strict=True)
            ]
            report["process"]["client_requests"] += number
            for server in self._random.choices(pool["servers"], weights, k=number):
                self._request(pool, server)
            for server in pool["servers"]:
                server["in_queue"], server["out_queue"] = self._random.randrange(3), self._random.randrange(9)
                server["server_connections"] = 1
        report["process"]["memory_held"] = self._random.randrange(10**8)
        for worker in report["workers"]:
            worker["recent_requests"] = requests // 2
        return report

    def _request(self, pool: Report, server: Report) -> None:
        (kind,) = self._random.choices(COMMAND_CLASSES, [_WEIGHTS[name] for name in COMMAND_CLASSES])
        server["requests"] += 1
        server["responses"] += 1
        server[f"responses_{kind}"] += 1
        pool[f"replies_{kind}"] += 1
        for phases, latency in ((SERVER_PHASES, server["latency"]), (POOL_PHASES, pool["latency"])):
            for phase in phases:
                _count(latency, kind, phase, int(self._random.lognormvariate(0, 0.8) * _MEDIANS[phase]))

    def fail(self, pool: int, errors: int) -> None:
        """Let requests of a pool fail, at its first server."""
        failing = self.report["pools"][pool]
        failing["forward_error"] += errors
        failing["servers"][0]["server_timedout"] += errors

    def eject(self, pool: int, server: int) -> None:
        """Eject a server."""
        ejected = self.report["pools"][pool]["servers"][server]
        ejected |= {"state": "ejected", "ejected_since": self.report["now"], "ejected_why": "no reply within 300 ms"}
        event = _event(self.report["now"], "ejected", "no reply within 300 ms")
        event |= {"pool": self.report["pools"][pool]["name"], "server": ejected["name"]}
        self.report["events"].append(event)

    def readmit(self, pool: int, server: int) -> None:
        """End the ejection of a server."""
        readmitted = self.report["pools"][pool]["servers"][server]
        readmitted |= {"state": "live", "ejected_since": None, "ejected_why": ""}
        event = _event(self.report["now"], "readmitted", "it answers again")
        event |= {"pool": self.report["pools"][pool]["name"], "server": readmitted["name"]}
        self.report["events"].append(event)

    def reload(self) -> None:
        """Serve another configuration."""
        self.report["config"]["generation"] += 1
        self.report["events"].append(_event(self.report["now"], "reload", "pool 'alpha': timeout 300 -> 250"))


def _zeros(metrics: tuple[Metric, ...]) -> dict[str, int]:
    return {metric.name: 0 for metric in metrics}


def _event(at: float, kind: str, text: str) -> Report:
    return {"at": at, "kind": kind, "pool": "", "server": "", "text": text}


def _count(latency: Report, kind: str, phase: str, microseconds: int) -> None:
    histogram = latency.setdefault(kind, {}).setdefault(phase, {"count": 0, "total_us": 0, "buckets": {}})
    histogram["count"] += 1
    histogram["total_us"] += microseconds
    bucket = str(bucket_of(microseconds))
    histogram["buckets"][bucket] = histogram["buckets"].get(bucket, 0) + 1
