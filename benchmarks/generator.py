"""Load on a port: ``python -m benchmarks.generator --port N --requests N "name of a case"``; the figures come as JSON.

Like redis-benchmark, for any protocol: each client sends a pipeline of requests, waits for all their replies, and sends
the next. It runs beside proxies and servers on the same processors, so it does little: requests and the replies that
belong to them are made beforehand, a batch costs one send and as many receives as it arrives in, and checking every
byte of it is a comparison of memory.
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
"""No client of all had a reply for so long: nothing more will come."""

BANK_BATCHES = range(16, 4096)
BANK_KEYS = 20_000
BANK_BYTES = 16 * 1024 * 1024
"""A bank has as many batches, within that range, as have together so many keys and so many bytes."""

SHOWN = 60
"""Bytes of a wrong reply that an error quotes."""


def prepare(case: Case) -> list[Exchange]:
    """A bank of batches, each a pipeline of requests for random keys with its replies; in every run the same."""
    choose = random.Random(case.name)
    batch = prepare_batch(case, choose)
    count = min(BANK_KEYS // (case.pipeline * case.keys), BANK_BYTES // sum(map(len, batch)))
    count = max(BANK_BATCHES.start, min(BANK_BATCHES.stop, count))
    return [batch, *(prepare_batch(case, choose) for _ in range(count - 1))]


def prepare_batch(case: Case, choose: random.Random) -> Exchange:
    """One pipeline of requests, and the bytes that are the right answer."""
    dialect, space = dialect_of(case), KEY_SPACES[case.value_size]
    pipeline = [
        [key_name(case.value_size, choose.randrange(space)) for _ in range(case.keys)] for _ in range(case.pipeline)
    ]
    return Exchange(
        b"".join(dialect.request(case, keys) for keys in pipeline),
        b"".join(dialect.reply(case, keys) for keys in pipeline),
    )


def drive(port: int, clients: int, bank: Sequence[Exchange], count: int) -> tuple[float, list[float]]:
    """Have clients complete ``count`` exchanges in all, each of them one after the other, in turn from the bank.

    Gives the seconds from the first request to the last reply, and the seconds of each exchange. A ``LoadError`` when
    a connection ends, anything else comes than the reply, or nothing comes.
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

    # What follows is spelt out for speed: bound methods, and lists indexed by descriptor instead of objects.
    room = 1 + max(connection.fileno() for connection in connections)
    send, receive_into = [connections[0].send] * room, [connections[0].recv_into] * room
    for connection in connections:
        send[connection.fileno()], receive_into[connection.fileno()] = connection.send, connection.recv_into
    expected, arrived, began = [b""] * room, [0] * room, [0.0] * room
    unsent: dict[int, memoryview] = {}
    # Longer than any reply, so that one receive takes all there is.
    buffer = bytearray(SHOWN + max(len(exchange.reply) for exchange in bank))
    view = memoryview(buffer)
    next_exchange, poll, clock = cycle(bank).__next__, epoll.poll, time.perf_counter
    seconds: list[float] = []
    record, writable = seconds.append, select.EPOLLOUT

    def transmit(descriptor: int, data: bytes | memoryview) -> None:
        """Send what the kernel takes; the rest waits until it takes more."""
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
    """What came instead of what should have, from the beginning of the line that is wrong."""
    pairs = zip(came, expected, strict=False)
    same = next((position for position, (one, other) in enumerate(pairs) if one != other), len(expected))
    line = came.rfind(b"\n", 0, same) + 1
    right = repr(expected[line : line + SHOWN]) if line < len(expected) else "nothing"
    return f"wrong reply: {came[line : line + SHOWN]!r} came instead of {right}"


def percentile(ascending: Sequence[float], percent: float) -> float:
    """The smallest of the values that so many percent of them do not exceed."""
    return ascending[max(0, math.ceil(len(ascending) * percent / 100) - 1)]


def measure(port: int, case: Case, requests: int) -> Load:
    """Put the case's load on a port: so many requests, rounded up to whole pipelines."""
    bank = prepare(case)
    count = math.ceil(requests / case.pipeline)
    # Nothing here makes cycles, and collections would look through the bank.
    gc.disable()
    seconds, durations = drive(port, case.clients, bank, count)
    gc.enable()
    durations.sort()
    milliseconds = (1000 * percentile(durations, percent) for percent in (50, 99, 99.9))
    return Load(count * case.pipeline, count * case.pipeline / seconds, *milliseconds)


def main(words: Sequence[str] | None = None) -> int:
    """The command line; 1 with a line on standard error when the load did not complete."""
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
