"""Load on a port: ``python -m benchmarks.generator --port N --requests N "name of a case"``; prints figures as JSON.

It works like redis-benchmark, for any protocol: each client sends a pipeline of requests, waits for all replies, and
sends the next pipeline. The generator shares the processors with proxies and servers, so it does little work: requests
and their replies are made beforehand, a batch takes one send and one receive for each piece of its replies, and a piece
is checked by one comparison of memory.
"""

import argparse
import gc
import json
import math
import random
import select
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import cycle

from benchmarks import wire
from benchmarks.cases import CASES, KEY_SPACES, Case, key_name
from benchmarks.dialects import Exchange, dialect_of
from benchmarks.load import Load, LoadError

STALL_SECONDS = 30.0
"""If no client gets a reply for this number of seconds, no more replies are expected."""

BANK_BATCHES = range(16, 4096)
BANK_KEYS = 20_000
BANK_BYTES = 16 * 1024 * 1024
"""A bank has as many batches as fit into these numbers of keys and bytes, within the range of batches."""

SHOWN = 60
"""The number of bytes of a wrong reply that an error shows."""


def prepare(case: Case) -> list[Exchange]:
    """A bank of batches, each a pipeline of requests for random keys with its replies; the same in every run."""
    choose = random.Random(case.name)
    batch = prepare_batch(case, choose)
    count = min(BANK_KEYS // (case.pipeline * case.keys), BANK_BYTES // sum(map(len, batch)))
    count = max(BANK_BATCHES.start, min(BANK_BATCHES.stop, count))
    return [batch, *(prepare_batch(case, choose) for _ in range(count - 1))]


def prepare_batch(case: Case, choose: random.Random) -> Exchange:
    """A pipeline of requests, and the bytes of the correct replies."""
    dialect, space = dialect_of(case), KEY_SPACES[case.value_size]
    pipeline = [
        [key_name(case.value_size, choose.randrange(space), case.kind) for _ in range(case.keys)]
        for _ in range(case.pipeline)
    ]
    return Exchange(
        b"".join(dialect.request(case, keys) for keys in pipeline),
        b"".join(dialect.reply(case, keys) for keys in pipeline),
    )


def drive(port: int, clients: int, bank: Sequence[Exchange], count: int) -> tuple[float, list[float]]:
    """Let clients complete ``count`` exchanges in total; each client does one after the other, in turn from the bank.

    Returns the seconds from the first request to the last reply, and the seconds of each exchange. Raises ``LoadError``
    if a connection ends, or a reply is wrong or does not come.
    """
    try:
        with ExitStack() as stack:
            return _drive(port, min(clients, count), bank, count, stack)
    except OSError as error:
        raise LoadError(str(error)) from error


def _drive(
    port: int, clients: int, bank: Sequence[Exchange], count: int, stack: ExitStack
) -> tuple[float, list[float]]:
    connections = [stack.enter_context(wire.connect(port)) for _ in range(clients)]
    epoll = stack.enter_context(select.epoll())
    for connection in connections:
        connection.setblocking(False)
        epoll.register(connection, select.EPOLLIN)

    # The rest is written for speed: bound methods, and lists indexed by descriptor instead of objects.
    room = 1 + max(connection.fileno() for connection in connections)
    send, receive_into = [connections[0].send] * room, [connections[0].recv_into] * room
    for connection in connections:
        send[connection.fileno()], receive_into[connection.fileno()] = connection.send, connection.recv_into
    expected, arrived, began = [b""] * room, [0] * room, [0.0] * room
    unsent: dict[int, memoryview] = {}
    # Longer than any reply, so that one receive takes all available bytes.
    buffer = bytearray(SHOWN + max(len(exchange.reply) for exchange in bank))
    view = memoryview(buffer)
    next_exchange, poll, clock = cycle(bank).__next__, epoll.poll, time.perf_counter
    seconds: list[float] = []
    record, writable = seconds.append, select.EPOLLOUT

    def transmit(descriptor: int, data: bytes | memoryview) -> None:
        """Send what the kernel accepts; the rest waits until the kernel accepts more."""
        size = send[descriptor](data)
        if size < len(data):
            unsent[descriptor] = memoryview(data)[size:]
            epoll.modify(descriptor, select.EPOLLIN | select.EPOLLOUT)

    start = clock()
    for connection in connections:
        descriptor = connection.fileno()
        request, expected[descriptor] = next_exchange()
        began[descriptor] = clock()
        transmit(descriptor, request)
    to_begin, to_complete = count - clients, count
    while to_complete:
        events = poll(STALL_SECONDS, clients)
        if not events:
            raise LoadError(f"no reply for {STALL_SECONDS:g} seconds, with {to_complete} of {count} batches to come")
        for descriptor, ready in events:
            if ready & writable:
                epoll.modify(descriptor, select.EPOLLIN)
                transmit(descriptor, unsent.pop(descriptor))
            if ready == writable:
                continue
            size = receive_into[descriptor](buffer)
            reply, before = expected[descriptor], arrived[descriptor]
            if not reply.startswith(view[:size], before):
                raise LoadError(difference(reply[before:], bytes(view[:size])))
            if before + size < len(reply):
                if not size:
                    raise LoadError(f"the connection was closed after {before} of {len(reply)} bytes of replies")
                arrived[descriptor] = before + size
                continue
            now = clock()
            record(now - began[descriptor])
            to_complete -= 1
            if not to_begin:
                epoll.unregister(descriptor)
                continue
            to_begin -= 1
            request, expected[descriptor] = next_exchange()
            arrived[descriptor], began[descriptor] = 0, now
            transmit(descriptor, request)
    return clock() - start, seconds


def difference(expected: bytes, came: bytes) -> str:
    """The received and the expected bytes as text, from the beginning of the wrong line."""
    pairs = zip(came, expected, strict=False)
    same = next((position for position, (one, other) in enumerate(pairs) if one != other), len(expected))
    line = came.rfind(b"\n", 0, same) + 1
    right = repr(expected[line : line + SHOWN]) if line < len(expected) else "nothing"
    return f"wrong reply: {came[line : line + SHOWN]!r} came instead of {right}"


def percentile(ascending: Sequence[float], percent: float) -> float:
    """The smallest value that this percentage of the values does not exceed."""
    return ascending[max(0, math.ceil(len(ascending) * percent / 100) - 1)]


def measure(port: int, case: Case, requests: int) -> Load:
    """Put the load of a case on a port: this many requests, rounded up to whole pipelines."""
    bank = prepare(case)
    count = math.ceil(requests / case.pipeline)
    # No code here makes reference cycles, and the garbage collector would scan the bank.
    gc.disable()
    seconds, durations = drive(port, case.clients, bank, count)
    gc.enable()
    durations.sort()
    milliseconds = (1000 * percentile(durations, percent) for percent in (50, 99, 99.9))
    return Load(count * case.pipeline, count * case.pipeline / seconds, *milliseconds)


def main(words: Sequence[str] | None = None) -> int:
    """The command line; returns 1, with a line on standard error, if the load did not complete."""
    parser = argparse.ArgumentParser(prog="benchmarks.generator", description="Put the load of a case on a port.")
    parser.add_argument("case", help="its name, as run.py --list shows it")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--requests", type=int, required=True)
    options = parser.parse_args(words)
    case = next((case for case in CASES if case.name == options.case), None)
    if case is None or options.requests < 1:
        parser.error("needs the name of a case and a positive number of requests")
    try:
        print(json.dumps(measure(options.port, case, options.requests)._asdict()))
    except LoadError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
