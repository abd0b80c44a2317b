"""Metrics for Prometheus and for what reads its formats: the text format 0.0.4 and OpenMetrics 1.0.

``FAMILIES`` is the table of all metrics, from which docs/metrics.md is made. The text is made in pieces, because it can
have some megabytes: 2,000 servers have 100,000 samples.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from twemproxy.stats.catalogue import (
    COMMAND_CLASSES,
    POOL_METRICS,
    POOL_PHASES,
    PROCESS_METRICS,
    SERVER_METRICS,
    SERVER_PHASES,
)
from twemproxy.stats.histograms import bucket_of
from twemproxy.stats.snapshot import Rows
from twemproxy.stats.text import Seconds, fill

PREFIX: Final = "nutcracker_"

Scope = Literal["process", "worker", "pool", "server"]
Kind = Literal["counter", "gauge", "info", "histogram"]

SCOPE_LABELS: Final[dict[Scope, tuple[str, ...]]] = {
    "process": (),
    "worker": ("worker",),
    "pool": ("pool",),
    "server": ("pool", "server"),
}
"""The labels of all metrics of a scope."""

POOL_BOUNDS: Final = tuple(1 << power for power in range(6, 22))
"""The bounds of a pool's histograms, in microseconds: 64 us to 2.1 s."""

SERVER_BOUNDS: Final = tuple(1 << power for power in (*range(6, 15), 16, 18, 20))
"""The same for a server: 64 us to 1 s."""

_MICROSECONDS: Final = 1_000_000


class Sample(NamedTuple):
    """What a subject has of a family, beside the labels of its scope."""

    value: str
    """The name of the value; of an info metric: the name of the text that its label has."""
    labels: tuple[tuple[str, str], ...] = ()
    """Names and values of more labels. The value of a label of an info metric is empty."""


class Family(NamedTuple):
    """A metric: its name without prefix and suffix, and its samples."""

    name: str
    kind: Kind
    scope: Scope
    help: str
    samples: tuple[Sample, ...]
    divisor: int = 1
    """The values are divided by it."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of all labels, without ``le``."""
        return (*SCOPE_LABELS[self.scope], *dict.fromkeys(name for each in self.samples for name, _ in each.labels))

    @property
    def full_name(self) -> str:
        """The name of the samples; those of a histogram have a suffix more."""
        suffix = {"counter": "_total", "info": "_info", "gauge": "", "histogram": ""}[self.kind]
        return PREFIX + self.name + suffix


def _one(kind: Kind, scope: Scope, name: str, value: str, help: str, divisor: int = 1) -> Family:
    return Family(name, kind, scope, help, (Sample(value),), divisor)


def _by(kind: Kind, scope: Scope, name: str, label: str, values: Mapping[str, str], help: str) -> Family:
    """A family with a sample for each value of a label. ``values``: names of values by the value of the label."""
    samples = tuple(Sample(value, ((label, word),)) for word, value in values.items())
    return Family(name, kind, scope, help, samples)


def _info(scope: Scope, name: str, texts: Sequence[str], help: str) -> Family:
    return Family(name, "info", scope, help, (Sample("", tuple((text, "") for text in texts)),))


FAMILIES: Final = (
    _info("process", "build", ("version", "python"), "The version of the proxy and that of its Python"),
    _info(
        "process",
        "config",
        ("file", "fingerprint"),
        "The configuration in use; the fingerprint is equal for equal configurations",
    ),
    _one("gauge", "process", "start_time_seconds", "started_at", "When the proxy was started, in seconds since epoch"),
    _one("gauge", "process", "ready", "ready", "1 if all workers accept clients and the proxy does not stop"),
    _one("gauge", "process", "workers", "workers", "Workers that accept clients"),
    _one(
        "gauge",
        "process",
        "config_generation",
        "config_generation",
        "1 at the start, one more with each reload that changes something",
    ),
    _one(
        "gauge",
        "process",
        "config_loaded_timestamp_seconds",
        "config_loaded_at",
        "When the configuration in use was loaded, in seconds since epoch",
    ),
    _one(
        "gauge",
        "process",
        "config_last_reload_timestamp_seconds",
        "last_reload_at",
        "When the last reload ended, in seconds since epoch, 0 before the first one",
    ),
    _one(
        "gauge",
        "process",
        "config_last_reload_successful",
        "last_reload_successful",
        "0 if the last reload failed and the former configuration stays in use, otherwise 1",
    ),
    _one("gauge", "process", "resident_memory_bytes", "resident", "Resident memory of the supervisor"),
    _one("counter", "process", "cpu_seconds", "cpu", "Processor time of the supervisor"),
    _one(
        "counter",
        "process",
        "connections_opened",
        "total_connections",
        "Connections ever created: listeners, clients and servers",
    ),
    _one("gauge", "process", "connections", "curr_connections", "Connections open now: listeners, clients and servers"),
    _one(
        "counter",
        "process",
        "client_requests",
        "client_requests",
        "Requests of clients, also those that the proxy answers itself",
    ),
    _one(
        "counter",
        "process",
        "clients_passed",
        "clients_passed",
        "New clients that the accepting worker gave to another one",
    ),
    _one(
        "counter",
        "process",
        "clients_moved",
        "clients_moved",
        "Clients handed over because another worker had less work",
    ),
    _one(
        "counter",
        "process",
        "access_log_lines",
        "access_log_lines",
        "Requests in the sample of the access log, whose lines were made",
    ),
    _one(
        "counter",
        "process",
        "access_log_dropped_lines",
        "access_log_dropped",
        "Lines of the access log that were not written",
    ),
    _one(
        "gauge",
        "process",
        "memory_held_bytes",
        "memory_held",
        "Memory held for requests, replies and subscriptions, limited by --max-memory",
    ),
    _one(
        "gauge",
        "process",
        "memory_held_for_subscriptions_bytes",
        "memory_subscriptions",
        "The part of it that is held for subscriptions",
    ),
    _one(
        "gauge",
        "process",
        "memory_waiting_clients",
        "memory_waiting",
        "Clients from which nothing is read now because of --max-memory",
    ),
    _one(
        "counter",
        "process",
        "memory_waits",
        "memory_waits",
        "Times that reading from a client stopped because of --max-memory",
    ),
    _one(
        "counter",
        "worker",
        "worker_client_requests",
        "client_requests",
        "Requests of clients that the process of this worker has taken",
    ),
    _one(
        "gauge",
        "worker",
        "worker_connections",
        "curr_connections",
        "Connections of the worker: listeners, clients and servers",
    ),
    _one(
        "gauge",
        "worker",
        "worker_memory_held_bytes",
        "memory_held",
        "Memory that the worker holds for requests, replies and subscriptions",
    ),
    _one(
        "gauge",
        "worker",
        "worker_resident_memory_bytes",
        "resident",
        "Resident memory of the worker, with what it shares with others",
    ),
    _one("counter", "worker", "worker_cpu_seconds", "cpu", "Processor time of the process of this worker"),
    _one(
        "gauge",
        "worker",
        "worker_start_time_seconds",
        "started_at",
        "When the process of this worker was started, in seconds since epoch",
    ),
    _one("counter", "worker", "worker_loop_turns", "loop_turns", "Turns of the event loop"),
    _one(
        "counter",
        "worker",
        "worker_loop_busy_seconds",
        "loop_busy_us",
        "Time of these turns without the waits for events: its rate is the busy share",
        _MICROSECONDS,
    ),
    _one(
        "gauge",
        "worker",
        "worker_loop_longest_turn_seconds",
        "loop_longest_us",
        "Longest turn of the last 10 to 20 seconds: so long a request has waited to be read",
        _MICROSECONDS,
    ),
    _one(
        "gauge",
        "worker",
        "worker_loop_idle_seconds",
        "loop_age",
        "Time since the event loop has published that it turns, which it does once per second",
    ),
    _info(
        "pool",
        "pool",
        ("protocol", "listen", "hash", "distribution", "ring_fingerprint"),
        "What the configuration says "
        "of a pool; the ring fingerprint is equal for pools that place each key on the server of the same name",
    ),
    _one("gauge", "pool", "pool_client_connections", "client_connections", "Client connections"),
    _by(
        "counter",
        "pool",
        "pool_client_connections_ended",
        "reason",
        {"eof": "client_eof", "error": "client_err"},
        "Client connections that have ended, by reason",
    ),
    _by(
        "counter",
        "pool",
        "pool_replies",
        "class",
        {each: f"replies_{each}" for each in COMMAND_CLASSES},
        "Replies written to clients, by the class of the request",
    ),
    _one("counter", "pool", "pool_forward_errors", "forward_error", "Requests that failed at a server"),
    _one("counter", "pool", "pool_fragments", "fragments", "Requests that were made of requests for several servers"),
    _one("counter", "pool", "pool_ejections", "server_ejects", "Times that a server was ejected"),
    _one(
        "counter",
        "pool",
        "pool_subscriptions_moved",
        "subscriptions_moved",
        "Channels and patterns that moved to another server",
    ),
    _one(
        "gauge",
        "pool",
        "pool_private_connections",
        "private_connections",
        "Server connections of clients in transactions and blocking commands, limited by blocking_connections",
    ),
    Family(
        "request_duration_seconds",
        "histogram",
        "pool",
        "Time of requests of clients, by class and phase; whole: from "
        "reading the request to writing its reply; writing: from the arrival of the reply at the proxy on",
        tuple(
            Sample(f"{each}/{phase}", (("class", each), ("phase", phase)))
            for each in COMMAND_CLASSES
            for phase in POOL_PHASES
        ),
        _MICROSECONDS,
    ),
    _info("server", "server", ("address",), "The address of a server, as the configuration says"),
    _one("gauge", "server", "server_ejected", "ejected", "1 while the server is ejected, otherwise 0"),
    _one(
        "gauge",
        "server",
        "server_ejected_seconds",
        "ejected_for",
        "Time since the server was ejected, 0 while it is not",
        _MICROSECONDS,
    ),
    _one(
        "gauge",
        "server",
        "server_last_ejection_timestamp_seconds",
        "server_ejected_at",
        "When the server was ejected last, in seconds since epoch, 0 if it never was",
        _MICROSECONDS,
    ),
    _one(
        "gauge",
        "server",
        "server_key_space_ratio",
        "share",
        "The share of the key space that the server has while no server is ejected",
    ),
    _one("gauge", "server", "server_connections", "server_connections", "Connections that all clients share"),
    _one(
        "gauge",
        "server",
        "server_further_connections",
        "server_further",
        "Connections beside these, limited by max_backend_connections",
    ),
    _one(
        "gauge",
        "server",
        "server_private_connections",
        "server_private",
        "Those of them that are for transactions and blocking commands",
    ),
    _by(
        "counter",
        "server",
        "server_failures",
        "reason",
        {"eof": "server_eof", "error": "server_err", "timeout": "server_timedout"},
        "Failures by reason: the server has closed a connection, a connection has failed, or a request or a connection "
        "has timed out",
    ),
    _one("counter", "server", "server_requests", "requests", "Requests"),
    _one("counter", "server", "server_request_bytes", "request_bytes", "Bytes of requests"),
    _one(
        "counter",
        "server",
        "server_requests_resent",
        "requests_resent",
        "Requests sent once more on another connection",
    ),
    _one("counter", "server", "server_responses", "responses", "Responses"),
    _one("counter", "server", "server_response_bytes", "response_bytes", "Bytes of responses"),
    _by(
        "counter",
        "server",
        "server_responses_in_time",
        "class",
        {each: f"responses_{each}" for each in COMMAND_CLASSES},
        "Responses in time, by the class of the request",
    ),
    _by(
        "gauge",
        "server",
        "server_queue_requests",
        "queue",
        {"in": "in_queue", "out": "out_queue"},
        "Requests that are not written to the server yet (in), and that are and have no response yet (out)",
    ),
    _by(
        "gauge",
        "server",
        "server_queue_bytes",
        "queue",
        {"in": "in_queue_bytes", "out": "out_queue_bytes"},
        "Bytes of these requests",
    ),
    Family(
        "server_duration_seconds",
        "histogram",
        "server",
        "Time of requests of all classes but blocking, by phase; "
        "waiting: from reading the request to writing it to the server; server: from then until its response has "
        "arrived",
        tuple(Sample(phase, (("phase", phase),)) for phase in SERVER_PHASES),
        _MICROSECONDS,
    ),
)

BOUNDS: Final[dict[Scope, tuple[int, ...]]] = {"pool": POOL_BOUNDS, "server": SERVER_BOUNDS}
"""The bounds of histograms in microseconds."""

EDGES: Final[dict[Scope, tuple[int, ...]]] = {scope: tuple(map(bucket_of, bounds)) for scope, bounds in BOUNDS.items()}
"""How many buckets are below each of these bounds."""

ORIGINAL: Final[dict[Scope, tuple[str, ...]]] = {
    "process": (*(metric.name for metric in PROCESS_METRICS if not metric.added), "uptime"),
    "pool": tuple(metric.name for metric in POOL_METRICS if not metric.added),
    "server": tuple(metric.name for metric in SERVER_METRICS if not metric.added),
}
"""The figures of nutcracker 0.5.0, which have the names ``twemproxy_`` and their own beside ours if that is wanted."""

ORIGINAL_PREFIX: Final = "twemproxy_"


class Subjects(NamedTuple):
    """Some processes, workers, pools or servers, all of one scope: an entry for each, in the same order everywhere."""

    labels: list[bytes]
    """Those of its scope, as they are written."""
    rows: Rows
    """Values with the names of ``Sample.value``, a row for each."""
    numbers: Mapping[str, Sequence[float]] = {}
    """More of them, which are no counters."""
    texts: Mapping[str, Sequence[str]] = {}
    """The values of the labels of info metrics, by the name of the label."""
    histograms: Mapping[str, "array[int]"] = {}
    """By the names in ``Sample.value``, a row for each: how many values are below each of the bounds, how many there
    are at all, and their sum."""


def labels(**values: str) -> str:
    """Labels as they are written."""
    return ",".join([f'{name}="{escaped(value)}"' for name, value in values.items()])


def escaped(value: str) -> str:
    """The value of a label as it is written between quotes."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def render(subjects: Mapping[Scope, Sequence[Subjects]], *, open_metrics: bool, original: bool) -> Iterator[bytes]:
    """Yield the text in pieces, at least one for each family and element of ``subjects``.

    ``open_metrics``: whether it is OpenMetrics. ``original``: whether there are metrics with the names of ``ORIGINAL``.
    """
    for family in FAMILIES:
        yield _heading(family, open_metrics)
        for some in subjects[family.scope]:
            match family.kind:
                case "histogram":
                    for sample in family.samples:
                        yield _histogram_lines(family, sample, some)
                case "info":
                    yield _info_lines(family, some)
                case _:
                    for sample in family.samples:
                        yield _value_lines(family.full_name, family.scope, sample, family.divisor, some)
    if original:
        for scope, names in ORIGINAL.items():
            for key in names:
                yield _heading_of_original(key, open_metrics)
                for some in subjects[scope]:
                    yield _value_lines(ORIGINAL_PREFIX + key, scope, Sample(key), 1, some)
    if open_metrics:
        yield b"# EOF\n"


def _heading(family: Family, open_metrics: bool) -> bytes:
    name, kind = family.full_name, str(family.kind)
    if open_metrics:
        name = PREFIX + family.name
    elif kind == "info":
        kind = "gauge"
    return f"# HELP {name} {family.help}\n# TYPE {name} {kind}\n".encode()


def _heading_of_original(key: str, open_metrics: bool) -> bytes:
    name, kind = ORIGINAL_PREFIX + key, "unknown" if open_metrics else "untyped"
    return f"# HELP {name} As in the statistics of nutcracker\n# TYPE {name} {kind}\n".encode()


def _value_lines(name: str, scope: Scope, sample: Sample, divisor: int, subjects: Subjects) -> bytes:
    """The lines of a sample that is one number."""
    further = "".join([f',{label}="{word}"' for label, word in sample.labels])
    begin, end = (f"{name}{{", f"{further}}} ") if SCOPE_LABELS[scope] else (f"{name} ", "")
    numbers = subjects.numbers.get(sample.value)
    if numbers is not None:
        pairs = zip(subjects.labels, numbers, strict=True)
        return "".join([f"{begin}{those.decode()}{end}{number}\n" for those, number in pairs]).encode()
    rows = subjects.rows
    place = rows.columns.places[sample.value]
    template = (begin.encode(), None, end.encode(), place if divisor == 1 else Seconds(place), b"\n")
    return fill(template, subjects.labels, rows.words, rows.width)


def _info_lines(family: Family, subjects: Subjects) -> bytes:
    [sample] = family.samples
    begin = f"{family.full_name}{{".encode()
    lines = []
    for row, those in enumerate(subjects.labels):
        further = labels(**{name: subjects.texts[name][row] for name, _ in sample.labels}).encode()
        lines.append(b"%b%b%b%b} 1\n" % (begin, those, b"," if those else b"", further))
    return b"".join(lines)


def _histogram_lines(family: Family, sample: Sample, subjects: Subjects) -> bytes:
    """The histograms of a sample, without empty ones."""
    if (words := subjects.histograms.get(sample.value)) is None:
        return b""
    bounds, name = BOUNDS[family.scope], family.full_name
    further = "".join([f',{label}="{word}"' for label, word in sample.labels])
    template: list[bytes | int | None] = []
    for place, bound in enumerate([*(str(bound / _MICROSECONDS) for bound in bounds), "+Inf"]):
        template += [f"{name}_bucket{{".encode(), None, f'{further},le="{bound}"}} '.encode(), place, b"\n"]
    number, total = len(bounds), len(bounds) + 1
    template += [f"{name}_sum{{".encode(), None, f"{further}}} ".encode(), Seconds(total), b"\n"]
    template += [f"{name}_count{{".encode(), None, f"{further}}} ".encode(), number, b"\n"]
    return fill(tuple(template), subjects.labels, words, total + 1, number)


def histogram_samples(scope: Scope) -> int:
    """How many samples one histogram of this scope has."""
    return len(BOUNDS[scope]) + 3
