"""Load on a port: the tool for each protocol, its command line and its report."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks import wire
from benchmarks.cases import KEY_SPACES, Case, Protocol, key_prefix
from benchmarks.dialects import REDIS, SAME_KEY_TWICE
from benchmarks.machine import Programs
from twemproxy.demo.processes import end_with_parent

ROOT = Path(__file__).resolve().parents[1]
"""The folder from which this package can be imported."""

TIMEOUT_SECONDS = 120.0
"""A step takes a few seconds, but redis-benchmark tries for ever to connect to a port that refuses connections."""

RANDOM_NUMBER = b"__rand_int__"
"""redis-benchmark replaces this text by twelve digits, which are new in every request."""

THROUGHPUT = re.compile(r"throughput summary: ([0-9.]+) requests per second")
COMPLETED = re.compile(r"([0-9]+) requests completed in [0-9.]+ seconds")
SUMMARY = re.compile(r"avg\s+min\s+p50\s+p95\s+p99\s+max\s+([0-9.\s]+)")
PERCENTILE = re.compile(r"^([0-9.]+)% <= ([0-9.]+) milliseconds \(cumulative count", re.MULTILINE)
DISTRIBUTION_END = "Cumulative distribution of latencies"


class LoadError(Exception):
    """A step of load did not complete; the text is one line."""


class Load(NamedTuple):
    """The results of one step of load. Latencies are milliseconds, in a pipeline those of a batch."""

    requests: int
    per_second: float
    p50: float
    p99: float
    p999: float


class Tool(NamedTuple):
    """A program that makes load; if it fails, it ends with a status and a last line on standard error."""

    name: str
    needs: tuple[str, ...]
    """Programs that have to be installed."""
    command: Callable[[Programs, wire.Address, Case, int], list[str]]
    """The command line for this many requests of a case at an address."""
    parse: Callable[[str], Load]
    """Reads the standard output; raises ``LoadError`` if the report is not complete."""


def parse_redis_benchmark(output: str) -> Load:
    """Read redis-benchmark's full report of one test.

    The 99.9th percentile is the first line of the distribution with at least this percentage (99.902 %).
    """
    completed = COMPLETED.search(output)
    throughput = THROUGHPUT.search(output)
    summary = SUMMARY.search(output)
    percentiles = PERCENTILE.findall(output.partition(DISTRIBUTION_END)[0])
    if not (completed and throughput and summary and percentiles):
        raise LoadError("redis-benchmark gave no complete report")
    _, _, p50, _, p99, _ = (float(word) for word in summary[1].split())
    p999 = next(float(latency) for percent, latency in percentiles if float(percent) >= 99.9)
    return Load(int(completed[1]), float(throughput[1]), p50, p99, p999)


def redis_benchmark_command(programs: Programs, address: wire.Address, case: Case, requests: int) -> list[str]:
    """The command line of one step of redis-benchmark."""
    options = {
        **({"-s": address} if isinstance(address, str) else {"-h": wire.HOST, "-p": str(address)}),
        "-k": "0" if case.reconnects else "1",
        "-c": str(case.clients),
        "-P": str(case.pipeline),
        "-n": str(requests),
        "-r": str(KEY_SPACES[case.value_size]),
    }
    flags = [word for pair in options.items() for word in pair]
    keys = [key_prefix(case.value_size) + RANDOM_NUMBER] * case.keys
    return [
        programs.found["redis-benchmark"],
        *flags,
        *(argument.decode() for argument in REDIS.arguments(case, keys)),
    ]


def parse_generator(output: str) -> Load:
    """Read the output of our generator."""
    try:
        return Load(**json.loads(output))
    except (ValueError, TypeError):
        raise LoadError("the generator gave no complete report") from None


def generator_command(programs: Programs, address: wire.Address, case: Case, requests: int) -> list[str]:
    """The command line of one step of our generator, in a process of its own."""
    return [
        *(sys.executable, "-m", "benchmarks.generator"),
        *("--port", str(address)),
        *("--requests", str(requests)),
        case.name,
    ]


REDIS_BENCHMARK = Tool("redis-benchmark", ("redis-benchmark",), redis_benchmark_command, parse_redis_benchmark)
GENERATOR = Tool("benchmarks.generator", (), generator_command, parse_generator)

TOOLS: dict[Protocol, Tool] = {"redis": REDIS_BENCHMARK, "memcached": GENERATOR}


def tool_of(case: Case) -> Tool:
    """The tool for a case: redis-benchmark cannot name the same random key twice in a request."""
    return GENERATOR if case.operation in SAME_KEY_TWICE else TOOLS[case.topology.protocol]


def run(programs: Programs, address: wire.Address, case: Case, requests: int) -> Load:
    """One step of load; a wrong reply, a closed connection or a stall is a ``LoadError``."""
    tool = tool_of(case)
    try:
        done = subprocess.run(
            tool.command(programs, address, case, requests),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            preexec_fn=end_with_parent,
        )
    except subprocess.TimeoutExpired:
        raise LoadError(f"not done after {TIMEOUT_SECONDS:.0f} seconds") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it wrote no error"]
        raise LoadError(f"{tool.name} ended with status {done.returncode}: {lines[-1]}")
    return tool.parse(done.stdout)
