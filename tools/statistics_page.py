"""docs/statistics.md, from the catalogue of counters."""

from twemproxy.stats.catalogue import (
    POOL_FACTS,
    POOL_METRICS,
    PROCESS_FACTS,
    PROCESS_METRICS,
    SERVER_FACTS,
    SERVER_METRICS,
    Fact,
    Metric,
)
from twemproxy.stats.report import MOST_EVENTS

BEGINNING = """\
<!-- Written by tools/generate_docs.py from src/twemproxy/stats/catalogue.py: change those. -->

# Statistics

The statistics port (`-s`, `-a`) gives each reader one answer and closes the connection:

| the reader sends | it gets |
|---|---|
| nothing for 200 ms, or any other input | nutcracker 0.5.0's document, with the same members in the same order |
| `GET /stats.json` | the full document |
| a request of HTTP/1.0 or HTTP/1.1 for a page below, GET or HEAD | an HTTP response |

| page | response |
|---|---|
| `/metrics` | [metrics](metrics.md) for Prometheus, or OpenMetrics if the request prefers it |
| `/healthz` | 200 while the event loops of the supervisor and of all workers turn, otherwise 503 with the reason; \
servers do not matter |
| `/ready` | 200 while the proxy takes clients, otherwise 503 with the reason, as `nutcracker ready` |
| `/stats.json` | the full document |
| `/ui`, and `/` in a browser | a dashboard, which shows the report |
| `/ui/report.json` | the [report](#report) |

Any other path, also with a query, is any other input: exporters for nutcracker that send an HTTP request get its
document. Agents and exporters for nutcracker work with the first document. The full document is for people and newer
tools:

```
curl http://127.0.0.1:22222/stats.json
echo GET /stats.json | nc 127.0.0.1 22222
```

Nothing can be changed over this port. Bodies above 4 KB are compressed for clients that accept gzip.

In the full document each object ends with the metrics marked "added" below. A member that is an object is a pool, or
inside a pool a server. Later versions may add more members, and all of these will be numbers or texts.

All figures are current, and added up over all worker processes. Counters only grow, also when a worker is replaced.
[limits.md](limits.md#the-statistics-port) has the limits for readers.
"""

END = """
## Report

The report is a JSON document for programs that show what the proxy does. `nutcracker stats --json`, `/ui/report.json`
and the request `{"type":"report"}` on the [control socket](processes.md#control-socket) give the same one. Counters are
totals: who shows rates takes the difference of two reports.

| member | contents |
|---|---|
| `version`, `hostname`, `pid`, `now`, `started_at`, `ready` | of the proxy; times are in seconds since the epoch |
| `config` | the file, its generation and fingerprint, when it was loaded, and `last_reload`: when, whether it \
failed, its verdict |
| `process` | the metrics of the process above |
| `workers` | the same of each worker process, with its `number` and `pid` |
| `latency_bounds_us` | the lower bound of each bucket of latency in microseconds; the last bucket has no upper bound |
| `pools` | of each pool its directives, those that are not as by default (`changed`), its metrics, `latency` and \
`servers` |
| `servers` of a pool | of each server its address, weight, `state` (`live` or `ejected`), since when and why it is \
ejected, its `share` of the key space while no server is ejected, how many times its share of the requests it got over \
the last ten `--stats-interval` with enough requests (`excess`), whether that is \
[too much](operations.md#do-the-servers-get-equal-shares) (`is_skewed`), its metrics and `latency` |
| `latency` | by command class and phase: how many requests (`count`), the sum of their times (`total_us`), and how \
many are in each bucket that is not empty (`buckets`) |
| `events` | the last {events} reloads, ejections and returns, deaths of workers and upgrades, the newest one last |

Latency of a pool has the phases `whole`, from reading a request to writing its reply, and `writing`, from the arrival
of the reply at the proxy on. That of a server has `waiting`, from reading the request to writing it to the server, and
`server`, from then until the reply has arrived.
"""

HEADS = (
    (
        "Process",
        PROCESS_METRICS,
        PROCESS_FACTS,
        "These follow `service`, `source`, `version`, `uptime` and `timestamp`.",
    ),
    ("Pool", POOL_METRICS, POOL_FACTS, "The pool's servers follow these."),
    ("Server", SERVER_METRICS, SERVER_FACTS, ""),
)
"""The sections of docs/statistics.md: title, metrics, facts, and a note about their neighbours."""


def statistics() -> str:
    """The text of docs/statistics.md."""
    parts = [BEGINNING]
    facts: tuple[Fact, ...]
    for title, metrics, facts, note in HEADS:
        parts.append(
            f"\n## {title}\n\n" + (f"{note}\n\n" if note else "") + "| name | kind | meaning |\n|---|---|---|\n"
        )
        parts += map(statistics_row, metrics)
        parts += [f"| `{fact.name}` | added | {fact.help} |\n" for fact in facts]
    return "".join(parts) + END.replace("{events}", str(MOST_EVENTS))


def statistics_row(metric: Metric) -> str:
    """The row of a metric."""
    kind = f"{metric.kind}, added" if metric.added else metric.kind
    return f"| `{metric.name}` | {kind} | {metric.help.removeprefix('# ')} |\n"
