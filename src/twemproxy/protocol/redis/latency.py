"""LATENCY: merges the replies of several servers into the reply of one.

Plain Python. Each function takes the replies of all servers, none of which is an error, and returns the reply for the
client. Replies that do not fit raise ValueError, TypeError or KeyError. Formats are those of redis.io's
"LATENCY LATEST", "LATENCY HISTORY" and "LATENCY HISTOGRAM".
"""

from collections.abc import Iterator

from twemproxy.protocol.redis.resp_decoder import Value, parse
from twemproxy.protocol.redis.resp_encoder import array, bulk, integer, mapping

_Buckets = list[tuple[int, int]]


def latest(replies: list[bytes]) -> bytes:
    """LATENCY LATEST: for each event the latest sample, and the maximum of all samples.

    Some servers also report the sum and the number of all samples. These are added up if every server reports them.
    """
    events: dict[bytes, list[list[int]]] = {}
    for reply in replies:
        for row in _list(parse(reply)):
            event, *figures = _list(row)
            events.setdefault(_bytes(event), []).append([_integer(figure) for figure in figures])
    rows = []
    for event, told in events.items():
        time, latency, *_ = max(told)
        _, _, maxima, *more = zip(*told, strict=False)
        merged = (time, latency, max(maxima), *(sum(column) for column in more))
        rows.append(array([bulk(event), *(integer(figure) for figure in merged)]))
    return array(rows)


def history(replies: list[bytes]) -> bytes:
    """LATENCY HISTORY: the samples by time, one per second as with one server, the largest."""
    samples: dict[int, int] = {}
    for reply in replies:
        for sample in _list(parse(reply)):
            time, latency = map(_integer, _list(sample))
            samples[time] = max(latency, samples.get(time, 0))
    return array(array(map(integer, sample)) for sample in sorted(samples.items()))


def histogram(replies: list[bytes]) -> bytes:
    """LATENCY HISTOGRAM: the numbers of calls, and the counts of all buckets, are added up."""
    version = 3 if replies[0].startswith(b"%") else 2
    commands: dict[bytes, tuple[int, list[_Buckets]]] = {}
    for reply in replies:
        # A server reports a command twice if the client names it twice.
        for name, told in dict(_pairs(parse(reply))).items():
            fields = dict(_pairs(told))
            calls, buckets = commands.get(_bytes(name), (0, []))
            buckets.append([(_integer(bound), _integer(count)) for bound, count in _pairs(fields[b"histogram_usec"])])
            commands[_bytes(name)] = calls + _integer(fields[b"calls"]), buckets
    return mapping(((bulk(name), _of_command(*told, version)) for name, told in commands.items()), version)


def _of_command(calls: int, buckets: list[_Buckets], version: int) -> bytes:
    """The value of one command in the reply."""
    counts = mapping(((integer(bound), integer(count)) for bound, count in _added(buckets)), version)
    return mapping([(bulk("calls"), integer(calls)), (bulk("histogram_usec"), counts)], version)


def _added(histograms: list[_Buckets]) -> _Buckets:
    """The sum of histograms. Counts are cumulative; a histogram has no bucket with the same count as the one before."""
    steps: dict[int, int] = {}
    for buckets in histograms:
        before = 0
        for bound, count in buckets:
            steps[bound] = steps.get(bound, 0) + count - before
            before = count
    added, total = [], 0
    for bound in sorted(steps):
        total += steps[bound]
        added.append((bound, total))
    return added


def _list(value: Value) -> list[Value]:
    if not isinstance(value, list):
        raise ValueError("no array")
    return value


def _integer(value: Value) -> int:
    if not isinstance(value, int):
        raise ValueError("no integer")
    return value


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("no string")
    return value


def _pairs(value: Value) -> Iterator[tuple[Value, Value]]:
    """Keys and values of a map; in version 2 it is an array of keys and values in turn."""
    values = _list(value)
    return zip(values[::2], values[1::2], strict=True)
