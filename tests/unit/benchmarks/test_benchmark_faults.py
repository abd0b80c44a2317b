"""The verdicts on faults under load, from made-up outcomes."""

from benchmarks.faults import HEAD, Outcome, keeps, p99, row

from faults.catalogue import FAULTS
from faults.dialects import REDIS

BOUNDED = next(fault for fault in FAULTS if fault.most == 2)
UNBOUNDED = next(fault for fault in FAULTS if fault.most is None)
GOOD = Outcome((1.0, 1.5, 1.0), (1.0, 300.0, 1.0), 40, 2.0, 0, "")
SLOW = GOOD._replace(healthy=(1.0, 2.5, 1.0))


def test_the_ratio_is_judged_in_the_median_of_the_rounds() -> None:
    assert keeps(BOUNDED, [GOOD, SLOW, GOOD])
    assert not keeps(BOUNDED, [SLOW, SLOW, GOOD])


def test_errors_and_violations_are_judged_in_every_round() -> None:
    more = GOOD._replace(failures=2.1)
    assert not keeps(BOUNDED, [GOOD, more, GOOD])
    assert keeps(UNBOUNDED, [more])
    assert not keeps(UNBOUNDED, [GOOD, GOOD._replace(errors_elsewhere=1)])
    assert not keeps(UNBOUNDED, [GOOD, GOOD._replace(violations="{'shifted': 1}")])


def test_a_line_has_every_column() -> None:
    cells = dict(zip(HEAD, row(REDIS, BOUNDED, [GOOD, SLOW._replace(errors_elsewhere=3), GOOD]), strict=True))
    assert cells["errors"] == "40 40 40"
    assert cells["of one client, each time"] == "2.0 (≤ 2)"
    assert cells["elsewhere"] == "3"
    assert cells["healthy p99 ms: before, during, after"] == "1.0, 1.5, 1.0"
    assert cells["ratio"] == "1.50"
    assert cells["verdict"] == "**missed**"


def test_the_p99_is_that_of_the_chosen_clients() -> None:
    latencies = {0: [0.001] * 99, 1: [0.3] * 99, 2: [0.002]}
    assert p99(latencies, (0, 2)) == 1.0
    assert p99(latencies, (1,)) == 300.0
