"""docs/metrics.md, from the table of metrics."""

from twemproxy.stats.exposition import (
    BOUNDS,
    FAMILIES,
    ORIGINAL,
    ORIGINAL_PREFIX,
    SCOPE_LABELS,
    Family,
    Scope,
    histogram_samples,
)

METRICS_BEGINNING = """\
<!-- Written by tools/generate_docs.py from src/twemproxy/stats/exposition.py: change those. -->

# Metrics

`/metrics` on the statistics port has all metrics of the proxy, of all workers together, with their present values:

```
curl http://127.0.0.1:22222/metrics
```

```yaml
scrape_configs:
  - job_name: nutcracker
    static_configs: [{targets: ["127.0.0.1:22222"]}]
```

The format is Prometheus' text format 0.0.4, or OpenMetrics 1.0 for clients that prefer it. Names of counters end in
`_total`, units are seconds and bytes. Counters only grow, also when a worker is replaced, except those of a worker,
which begin again with its process.

"""

METRICS_TITLES: dict[Scope, str] = {
    "process": "The proxy",
    "worker": "Workers",
    "pool": "Pools",
    "server": "Servers",
}


def metrics() -> str:
    """The text of docs/metrics.md."""
    parts = [METRICS_BEGINNING]
    for scope, title in METRICS_TITLES.items():
        parts.append(f"## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n")
        parts += [metrics_row(family) for family in FAMILIES if family.scope == scope]
        parts.append("\n")
    parts.append(metrics_end())
    return "".join(parts)


def metrics_row(family: Family) -> str:
    """The row of a metric."""
    names = ", ".join(f"`{name}`" for name in family.labels)
    return f"| `{family.full_name}` | {family.kind} | {names} | {family.help} |\n"


def metrics_end() -> str:
    """How many samples there are, and the metrics with other names."""
    plain, histograms = {}, {}
    for scope in METRICS_TITLES:
        families = [family for family in FAMILIES if family.scope == scope]
        plain[scope] = sum(len(each.samples) for each in families if each.kind != "histogram")
        histograms[scope] = sum(len(each.samples) for each in families if each.kind == "histogram")

    def bounds(scope: Scope) -> str:
        return ", ".join(f"{bound / 1_000_000:g}" for bound in BOUNDS[scope])

    of_pool = histograms["pool"] * histogram_samples("pool")
    of_server = histograms["server"] * histogram_samples("server")
    rows = "".join(
        f"| {', '.join(f'`{label}`' for label in SCOPE_LABELS[scope]) or 'none'} | "
        f"{', '.join(f'`{ORIGINAL_PREFIX}{name}`' for name in names)} |\n"
        for scope, names in ORIGINAL.items()
    )
    return f"""\
## Histograms

The bounds (`le`) are edges of the buckets in which the proxy counts, so the counts are exact. In seconds they are

- of pools {bounds("pool")};
- of servers {bounds("server")}.

Histograms without a value are left out. `histogram_quantile` shows no more than the largest of these bounds; the
[report](statistics.md#report) has finer buckets, up to two minutes.

## How many samples there are

At most, with W workers, P pools, and S servers of all pools together:

    {plain["process"]} + {plain["worker"]} W + {plain["pool"] + of_pool} P + {plain["server"] + of_server} S

{of_pool} of a pool and {of_server} of a server are histograms: {histogram_samples("pool")} for each class and phase in
use, and {histogram_samples("server")} for each phase.

## Names of exporters for nutcracker

With `--metrics-compat twemproxy` (`-P`) there are also these metrics, whose names exporters for nutcracker use. Their
values are those of nutcracker's document, and their type is untyped.

| labels | metrics |
|---|---|
{rows}"""
