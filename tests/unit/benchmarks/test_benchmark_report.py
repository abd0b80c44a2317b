"""The ratios, verdicts and statements of the report, from made-up samples."""

from benchmarks.cases import CASES, Case
from benchmarks.contenders import HAPROXY, NUTCRACKER, OURS
from benchmarks.load import Load
from benchmarks.measure import CaseResult, Sample
from benchmarks.memory import MemoryResult
from benchmarks.pipelines import PipelinesResult
from benchmarks.report import Run, markdown, median_ratio, verdict

CASE = next(case for case in CASES if case.name == "GET 3 B, pipeline 1, 50 clients")


def samples(*figures: tuple[float, float]) -> list[Sample]:
    """Rounds of (CPU per request, requests per second)."""
    return [Sample(Load(1000, throughput, 1.0, 2.0, 3.0), cpu) for cpu, throughput in figures]


def result(case: Case = CASE, ours: tuple[float, float] = (8.0, 110.0)) -> CaseResult:
    """Three rounds: nutcracker needs 10 µs at 100 requests/s; ours has the figures ``ours``, but one bad round."""
    return CaseResult(
        case=case,
        requests=1000,
        samples={
            OURS: samples(ours, (90.0, 1.0), ours),
            NUTCRACKER: samples(*[(10.0, 100.0)] * 3),
            HAPROXY: samples(*[(16.0, 55.0)] * 3),
        },
        strangers=0.25,
    )


def run(
    *results: CaseResult,
    memory: list[MemoryResult] | None = None,
    pipelines: PipelinesResult | None = None,
    gaps: list[str] | None = None,
) -> Run:
    """A run with these results."""
    return Run("2026-11-22", {"cores": "2"}, {"ours": "1"}, 3, 2.5, list(results), memory or [], pipelines, gaps or [])


def test_the_median_of_the_rounds_is_judged_not_the_worst() -> None:
    assert median_ratio(result(), NUTCRACKER, "cpu") == 0.8
    assert median_ratio(result(), HAPROXY, "throughput") == 2.0
    assert verdict(result(), CASE.target) == "met"


def test_a_verdict_names_every_figure_that_misses() -> None:
    assert verdict(result(ours=(9.0, 100.0)), CASE.target) == "**missed: CPU**"
    assert verdict(result(ours=(8.0, 99.0)), CASE.target) == "**missed: throughput**"
    assert verdict(result(ours=(9.0, 99.0)), CASE.target) == "**missed: CPU and throughput**"


def test_the_report_has_ratios_rounds_targets_and_the_machine() -> None:
    text = markdown(run(result()), picture="p.png")
    assert "partial" not in text
    assert "| cores | 2 |" in text
    assert f"| {CASE.name} | 0.800 (0.800 to 9.000) | 1.100 (0.010 to 1.100) | ≤ 0.85 | ≥ 1.00 | met |" in text
    assert f"| {CASE.name} | haproxy | 0.500 5.625 0.500 | 2.000 0.018 2.000 |" in text
    assert "| GET 3 B, pipeline 1, 50 clients | ours | 110 | 1.000 | 2.000 | 3.000 | 8.00 |" in text
    assert "Met: 1 of 1 cases; of the 1 with a target of their own, 1." in text
    assert "25% of the machine's processor time" in text
    assert "](p.png)" in text


def test_a_partial_run_says_so_and_why() -> None:
    text = markdown(run(gaps=["haproxy is not installed."]), picture=None)
    assert text.startswith("# Benchmark of 2026-11-22\n\n**This run is partial.**\n\n- haproxy is not installed.\n")


def test_reduced_clients_are_declared() -> None:
    for name in ("GET 16 KB, pipeline 100", "memcached get 10 keys, pipeline 100"):
        reduced = next(case for case in CASES if case.name == f"{name}, 100 clients")
        text = markdown(run(result(reduced)), picture=None)
        what = name.replace("GET ", "").replace("get ", "").replace(",", " at")
        assert f"{what} runs with 100 clients instead of 500, because " in text
        assert text.count("instead of 500") == 1
    assert "instead of 500" not in markdown(run(result()), picture=None)


def test_the_tools_of_the_protocols_measured_are_named() -> None:
    memcached = next(case for case in CASES if case.topology.protocol == "memcached")
    assert "random keys; redis-benchmark for redis." in markdown(run(result()), picture=None)
    assert "random keys; benchmarks.generator for memcached." in markdown(run(result(memcached)), picture=None)
    both = markdown(run(result(), result(memcached), result(memcached)), picture=None)
    assert "random keys; redis-benchmark for redis; benchmarks.generator for memcached." in both


def test_memory_is_judged_for_ours_only() -> None:
    ours = MemoryResult(OURS, 900.0, 20 * 1024, 250 * 1024, 200 * 1024, 21 * 1024)
    hungry = MemoryResult(NUTCRACKER, 5000.0, 1024, 400 * 1024, 400 * 1024, 400 * 1024)
    text = markdown(run(memory=[ours, hungry]), picture=None)
    assert "| ours | 900 | 20.0 MB | 250.0 MB | 200.0 MB | 21.0 MB | 1.0 MB |" in text
    assert text.count("within 30 s") == 1
    assert "**missed**" not in text
    assert "**missed**" in markdown(run(memory=[hungry._replace(name=OURS)]), picture=None)


def test_deep_pipelines_are_judged_by_time_peak_and_what_is_kept() -> None:
    good = PipelinesResult([0.5, 0.4, 0.6], [0.6, 0.9, 0.6], before=40_960, peak=51_200, after_rest=41_472)
    text = markdown(run(pipelines=good), picture=None)
    assert "| 0.50 (0.40 to 0.60) | 0.60 (0.60 to 0.90) | 1.20 | 40.0 MB | 50.0 MB | 40.5 MB | 0.5 MB |" in text
    assert "**missed**" not in text
    for worse in (good._replace(through=[1.2] * 3), good._replace(peak=70_000), good._replace(after_rest=45_000)):
        assert markdown(run(pipelines=worse), picture=None).count("**missed**") == 1
    assert "Deep pipelines" not in markdown(run(), picture=None)
