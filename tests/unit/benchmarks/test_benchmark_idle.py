"""The report on idle clients, from made-up figures."""

import argparse

from benchmarks.idle import KINDS, Outcome, is_unharmed, parts

REDIS = Outcome("redis", "GET", {"one GET": 0.7, "more": 1.2}, [10.0, 11.0, 90.0], [12.0, 13.0, 14.0])


def test_the_p99_is_compared_in_the_median_of_the_rounds() -> None:
    assert is_unharmed(REDIS)
    assert not is_unharmed(REDIS._replace(crowded=[12.0, 14.0, 15.0]))


def test_every_kind_of_client_and_every_load_has_its_line() -> None:
    options = argparse.Namespace(clients=10_000, rounds=3, requests=1000)
    _, memory, latency = parts([REDIS], options)
    assert "| redis: one GET | 0.70 | met |" in memory
    assert "| redis: more | 1.20 | **missed** |" in memory
    assert "| GET | 11.00 (10.00 to 90.00) | 13.00 (12.00 to 14.00) | 1.18 | met |" in latency


def test_every_protocol_has_idle_clients() -> None:
    assert set(KINDS) == {"redis", "memcached"}
