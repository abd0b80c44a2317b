"""A short run of the network fuzzer; ``make fuzz`` runs it longer, and with sanitizers."""

from fuzz.network import Counts, fuzz

GOAL = Counts(connections=500, answers=100, verified=2000)


def test_nobody_pays_for_careless_clients_and_senseless_servers() -> None:
    assert fuzz(seed=1, goal=GOAL).reach(GOAL)
