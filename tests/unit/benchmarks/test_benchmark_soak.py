"""The verdict on a soak, from made-up samples."""

import csv
from collections.abc import Callable
from pathlib import Path

from benchmarks.soak_report import Process, Sample, findings, write_csv

COUNT = 200


def samples(rss: Callable[[int], int] = lambda n: 30_000, fds: Callable[[int], int] = lambda n: 100) -> list[Sample]:
    """Samples of a supervisor that does not change, and of a worker with these figures."""
    return [
        Sample(
            float(n), [Process(1, 20_000, 20), Process(2, rss(n), fds(n))], n * 10, n, 0, 1.5, "" if n % 3 else "killed"
        )
        for n in range(COUNT)
    ]


def missed(taken: list[Sample]) -> list[str]:
    """The findings that miss their bounds."""
    return [finding.text for finding in findings(taken) if not finding.kept]


def test_what_is_flat_is_kept() -> None:
    assert not missed(samples())


def test_growth_in_the_beginning_is_not_judged() -> None:
    assert not missed(samples(rss=lambda n: 30_000 - 1000 * max(15 - n, 0)))


def test_steady_growth_is_found() -> None:
    assert missed(samples(rss=lambda n: 30_000 + 20 * n)) == ["RSS of the worker 1: 30,750 KB, 33,630 KB at the end"]
    assert missed(samples(fds=lambda n: 100 + n // 20)) == ["open files of the worker 1: 101, 109 at the end"]


def test_files_that_a_fault_takes_for_a_moment_do_not_count() -> None:
    assert not missed(samples(fds=lambda n: 100 if n % 3 else 100 + n))


def test_a_worker_that_was_replaced_is_found() -> None:
    replaced = samples()
    replaced[-1] = replaced[-1]._replace(processes=[Process(1, 20_000, 20), Process(3, 30_000, 100)])
    assert missed(replaced) == ["sets of processes: 2"]
    replaced[-2] = replaced[-2]._replace(processes=replaced[-2].processes[:1])
    assert missed(replaced) == ["sets of processes: 3"]


def test_a_short_run_proves_nothing() -> None:
    assert missed(samples()[:40]) == ["too short to be judged: 40 samples"]


def test_every_sample_has_its_line(tmp_path: Path) -> None:
    write_csv(samples(), tmp_path / "soak.csv")
    lines = list(csv.DictReader((tmp_path / "soak.csv").read_text().splitlines()))
    assert len(lines) == COUNT
    assert lines[3]["worker 1 rss KB"] == "30000"
    assert lines[3]["faults"] == "killed"
