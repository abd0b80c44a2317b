"""The output of redis-benchmark 7.0 is parsed, and an incomplete run is an error."""

import sys
from pathlib import Path

import pytest
from benchmarks import load
from benchmarks.cases import CASES
from benchmarks.load import Load, LoadError
from benchmarks.machine import Programs

REPORT = """\
 GET key: rps=0.0 (overall: 0.0) avg_msec=-nan (overall: -nan)\r====== GET key:__rand_int__ ======
  200000 requests completed in 0.19 seconds
  50 parallel clients
  36 bytes payload

Latency by percentile distribution:
0.000% <= 0.143 milliseconds (cumulative count 16)
50.000% <= 0.423 milliseconds (cumulative count 102032)
99.805% <= 2.071 milliseconds (cumulative count 199616)
99.902% <= 2.407 milliseconds (cumulative count 199808)
99.951% <= 2.687 milliseconds (cumulative count 199904)
100.000% <= 2.935 milliseconds (cumulative count 200000)

Cumulative distribution of latencies:
0.000% <= 0.103 milliseconds (cumulative count 0)
100.000% <= 3.103 milliseconds (cumulative count 200000)

Summary:
  throughput summary: 1030927.81 requests per second
  latency summary (msec):
          avg       min       p50       p95       p99       max
        0.484     0.136     0.423     0.791     1.447     2.935
"""


def test_a_report_is_read() -> None:
    assert load.parse_redis_benchmark(REPORT) == Load(200000, 1030927.81, 0.423, 1.447, 2.407)


def test_half_a_report_is_an_error() -> None:
    with pytest.raises(LoadError, match="no complete report"):
        load.parse_redis_benchmark(REPORT.partition("Summary:")[0])


def tool(tmp_path: Path, text: str) -> Programs:
    """A script that replaces redis-benchmark."""
    path = tmp_path / "tool"
    path.write_text(f"#!{sys.executable}\nimport sys\n{text}\n")
    path.chmod(0o755)
    return Programs(ours=[], found={"redis-benchmark": str(path)})


def test_the_last_line_of_a_failed_tool_is_the_error(tmp_path: Path) -> None:
    programs = tool(tmp_path, "print('WARNING: x', file=sys.stderr); sys.exit('Error from server: ERR no')")
    with pytest.raises(LoadError, match=r"^redis-benchmark ended with status 1: Error from server: ERR no$"):
        load.run(programs, 1, CASES[0], 1)


def test_a_tool_that_never_ends_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "TIMEOUT_SECONDS", 0.3)
    with pytest.raises(LoadError, match="not done"):
        load.run(tool(tmp_path, "sys.stdin.close()\nimport time\ntime.sleep(60)"), 1, CASES[0], 1)
