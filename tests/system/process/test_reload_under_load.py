"""A verifying load while the configuration is reloaded and the program is upgraded; ``make reloads`` takes longer."""

import pytest

from reloads.run import Events, run


@pytest.mark.parametrize(
    ("events", "workers"), [(Events(20), 1), (Events(20), 3), (Events(20, upgrades=2), 1), (Events(20, 1, 3), 2)]
)
def test_clients_notice_nothing(events: Events, workers: int) -> None:
    tally = run(events, scale=1, seed=20261201, workers=workers)
    assert tally.wrong == []
    assert tally.counts["reload"] > 10
    assert tally.counts.get("upgrade", 0) == events.upgrades
    assert tally.counts.get("other number of workers", 0) == events.resizes
    assert min(tally.counts[name] for name in ("INCR", "EXEC", "BLPOP", "MGET", "get of many keys")) > 10
