"""The catalogue of counters: name, kind and meaning of each one, in the order of the statistics document.

The counters have the same order in shared memory. For compiled code, setup.py writes their positions to
``stats/positions.pxd``, as constants with their names in upper case.
"""

from typing import Literal, NamedTuple


class Metric(NamedTuple):
    """A counter of a pool or of a server."""

    name: str
    kind: Literal["counter", "gauge", "timestamp", "peak"]
    """A gauge is added up over all workers. Of timestamps and peaks the largest counts; a peak is of the present, as a
    gauge."""
    help: str
    added: bool = False
    """Whether nutcracker 0.5.0 lacks this metric: then only the full document has it."""


COMMAND_CLASSES = ("read", "write", "script", "blocking", "other")
"""Kinds of commands whose latency is measured apart.

``blocking``: those that may wait for a key. ``script``: scripts and functions. ``other``: neither reads nor writes
keys, or the proxy answers it.
"""

SERVER_PHASES = ("waiting", "server")
"""Parts of the time of a request that one server answers.

``waiting``: from when the proxy has read the request until it has written it to the server. ``server``: from then until
the proxy has its reply.
"""

POOL_PHASES = ("writing", "whole")
"""Parts of the time of a client's request.

``writing``: from when the proxy has the reply until it has written it to the client, so also the time in which it waits
for earlier replies and in which the client does not read. ``whole``: from when the proxy has read the request until it
has written its reply.
"""


def _of_classes(name: str, help: str) -> tuple[Metric, ...]:
    return tuple(Metric(f"{name}_{each}", "counter", f"{help} of class {each}", added=True) for each in COMMAND_CLASSES)


PROCESS_METRICS = (
    Metric("total_connections", "counter", "connections ever created: listeners, clients and servers"),
    Metric("curr_connections", "gauge", "connections open now: listeners, clients and servers"),
    Metric(
        "memory_held",
        "gauge",
        "bytes held for requests, replies and subscriptions, limited by --max-memory",
        added=True,
    ),
    Metric("memory_subscriptions", "gauge", "those of memory_held that are held for subscriptions", added=True),
    Metric("memory_waiting", "gauge", "clients from which nothing is read now because of --max-memory", added=True),
    Metric("memory_waits", "counter", "times that reading from a client stopped because of --max-memory", added=True),
    Metric("workers", "gauge", "workers that accept clients", added=True),
    Metric("client_requests", "counter", "requests of clients, also those that the proxy answers itself", added=True),
    Metric("recent_requests", "gauge", "requests of clients in about the last second", added=True),
    Metric("recent_clients", "gauge", "clients accepted in about the last second", added=True),
    Metric("clients_passed", "counter", "new clients that the accepting worker gave to another one", added=True),
    Metric("clients_moved", "counter", "clients handed over because another worker had less work", added=True),
    Metric(
        "access_log_lines", "counter", "requests in the sample of the access log, whose lines were made", added=True
    ),
    Metric("access_log_dropped", "counter", "those of these lines that were not written", added=True),
    Metric("loop_turns", "counter", "turns of event loops of workers", added=True),
    Metric("loop_busy_us", "counter", "time of these turns without the waits for events, in usec", added=True),
    Metric("loop_longest_us", "peak", "longest turn in the last 10 to 20 s, in usec", added=True),
    Metric("loop_turned_at", "timestamp", "last turn, in usec since the start of the machine", added=True),
)

POOL_METRICS = (
    Metric("client_eof", "counter", "# eof on client connections"),
    Metric("client_err", "counter", "# errors on client connections"),
    Metric("client_connections", "gauge", "# active client connections"),
    Metric("server_ejects", "counter", "# times backend server was ejected"),
    Metric("forward_error", "counter", "# times we encountered a forwarding error"),
    Metric("fragments", "counter", "# fragments created from a multi-vector request"),
    Metric("subscriptions_moved", "counter", "channels and patterns that moved to another server", added=True),
    Metric(
        "private_connections",
        "gauge",
        "server connections of clients in transactions and blocking commands, limited by blocking_connections",
        added=True,
    ),
    *_of_classes("replies", "replies written to clients, to requests"),
    Metric(
        "slow_replies", "counter", "requests that took slowlog_ms or longer because of late writing only", added=True
    ),
)

SERVER_METRICS = (
    Metric("server_eof", "counter", "# eof on server connections"),
    Metric("server_err", "counter", "# errors on server connections"),
    Metric("server_timedout", "counter", "# timeouts on server connections"),
    Metric("server_connections", "gauge", "# active server connections"),
    Metric("server_ejected_at", "timestamp", "timestamp when server was ejected in usec since epoch"),
    Metric("requests", "counter", "# requests"),
    Metric("request_bytes", "counter", "total request bytes"),
    Metric("responses", "counter", "# responses"),
    Metric("response_bytes", "counter", "total response bytes"),
    Metric("in_queue", "gauge", "# requests in incoming queue"),
    Metric("in_queue_bytes", "gauge", "current request bytes in incoming queue"),
    Metric("out_queue", "gauge", "# requests in outgoing queue"),
    Metric("out_queue_bytes", "gauge", "current request bytes in outgoing queue"),
    Metric(
        "server_further",
        "gauge",
        "connections beside those of server_connections, limited by max_backend_connections",
        added=True,
    ),
    Metric("server_private", "gauge", "those of them that are for transactions and blocking commands", added=True),
    Metric("requests_resent", "counter", "requests sent once more on another connection", added=True),
    *_of_classes("responses", "responses in time, to requests"),
    Metric("slow_responses", "counter", "responses that came slowlog_ms or longer after the request", added=True),
)

POOL_HISTOGRAMS = tuple((name, phase) for name in COMMAND_CLASSES for phase in POOL_PHASES)
"""The command class and the phase of each histogram of a pool, in the order in which they follow its metrics."""

SERVER_HISTOGRAMS = tuple((name, phase) for name in COMMAND_CLASSES for phase in SERVER_PHASES)
"""The same for a server."""


class Fact(NamedTuple):
    """A text or number that is no counter; nutcracker lacks all of them, so only the full document has it."""

    name: str
    help: str
    added: bool = True
    """As in ``Metric``."""
    phase: str = ""
    """If not empty: it is a quantile of latency in this phase since the start, over all command classes but
    ``blocking``, in microseconds."""
    share: float = 0
    """Of the quantile: 0.5 is the median."""


PROCESS_FACTS = (
    Fact("config_generation", "1 at the start, one more with each reload that changes something"),
    Fact("config_fingerprint", "equal for equal configurations"),
    Fact("config_loaded_at", "when the configuration in use was loaded, in seconds since epoch"),
    Fact("last_reload_at", "when the last reload ended, in seconds since epoch, 0 before the first one"),
    Fact("last_reload_failed", "1 if the last reload failed and the former configuration stays in use, otherwise 0"),
    Fact("last_reload", "what the last reload has changed, or why it failed"),
)


class SharedWord(NamedTuple):
    """A word that all workers write, in the memory that they share, see ``stats.slots``."""

    name: str
    help: str


PROCESS_SHARED = (SharedWord("health_changes", "how many times the health of any server has changed"),)

POOL_SHARED = (SharedWord("clients_accepted", "clients ever accepted; the last one has this number"),)

SERVER_SHARED = (
    SharedWord(
        "verdicts",
        "changes of its health; the server is ejected while the number is odd, by hand while it has the bit BY_HAND",
    ),
    SharedWord("health_checks", "health checks that were begun, so that one worker at a time checks the server"),
)


def _quantiles(prefix: str, help: str, phase: str) -> tuple[Fact, ...]:
    return (
        Fact(f"{prefix}_p50_us", f"median of the time {help}, in usec", phase=phase, share=0.5),
        Fact(f"{prefix}_p99_us", f"99th percentile of the time {help}, in usec", phase=phase, share=0.99),
    )


POOL_LATENCY = (
    *_quantiles("latency", "from reading a request to writing its reply", "whole"),
    *_quantiles("latency_writing", "from the arrival of a reply to writing it", "writing"),
)

POOL_FACTS: tuple[Fact, ...] = (
    Fact("ring_fingerprint", "equal for pools that place each key on the server of the same name"),
    *POOL_LATENCY,
)

SERVER_LATENCY = (
    *_quantiles("latency_waiting", "from reading a request to sending it to the server", "waiting"),
    *_quantiles("latency_server", "from sending a request to the arrival of its reply", "server"),
)

SERVER_FACTS: tuple[Fact, ...] = (Fact("ejected", "1 while the server is ejected, otherwise 0"), *SERVER_LATENCY)

PROCESS_FIGURES: tuple[Metric | Fact, ...] = (*PROCESS_METRICS, *PROCESS_FACTS)
"""What the full document says of the process."""

POOL_FIGURES: tuple[Metric | Fact, ...] = (*POOL_METRICS, *POOL_FACTS)
"""What the full document says of a pool."""

SERVER_FIGURES: tuple[Metric | Fact, ...] = (*SERVER_METRICS, *SERVER_FACTS)
"""What the full document says of a server."""
