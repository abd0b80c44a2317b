"""A verifying load while the configuration is reloaded and the program is upgraded; ``make reloads`` takes longer."""

import pytest

from reloads.run import run


@pytest.mark.parametrize("upgrades", [0, 2])
def test_clients_notice_nothing(upgrades: int) -> None:
    tally = run(reloads=20, upgrades=upgrades, scale=1, seed=20261201)
    assert tally.wrong == []
    assert tally.counts["reload"] > 10
    assert tally.counts.get("upgrade", 0) == upgrades
    assert min(tally.counts[name] for name in ("INCR", "EXEC", "BLPOP", "MGET", "get of many keys")) > 10
