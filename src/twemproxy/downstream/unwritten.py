"""When replies are written to a client: the two phases of latency that end then.

Compiled-only. A reply that is appended to a client's send queue is usually written at the end of the same turn. Replies
with the same times and the same command that follow each other are one run, so a pipeline costs little.
"""

import cython
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.twemproxy.stats.counters import Counter
from cython.cimports.twemproxy.stats.histograms import histogram_of, record
from cython.cimports.twemproxy.stats.positions import CLASS_BLOCKING, POOL_HISTOGRAMS, REPLIES_READ

# Runs of one client. A client with more does not read: further replies count as those of its last run.
MOST_RUNS = cython.declare(cython.const[cython.uint], 1024)
# Unused runs that are kept.
MOST_SPARE = cython.declare(cython.const[cython.int], 1024)
WRITING = cython.declare(cython.const[cython.int], 0)
WHOLE = cython.declare(cython.const[cython.int], 1)

# Unused runs, linked by ``next``.
spare = cython.declare(cython.pointer[Run], cython.NULL)
n_spare = cython.declare(cython.int, 0)


@cython.cfunc
@cython.exceptval(check=False)
def take_run() -> cython.pointer[Run]:
    """A run; NULL without memory."""
    global spare, n_spare
    run: cython.pointer[Run] = spare
    if run is cython.NULL:
        return cython.cast(cython.pointer[Run], malloc(cython.sizeof(Run)))
    spare = run.next
    n_spare -= 1
    return run


@cython.cfunc
@cython.exceptval(check=False)
def give_run(run: cython.pointer[Run]) -> cython.void:
    """The run is not used any more."""
    global spare, n_spare
    if n_spare >= MOST_SPARE:
        free(run)
        return
    run.next = spare
    spare = run
    n_spare += 1


@cython.cfunc
@cython.exceptval(check=False)
def add_reply(
    first: cython.pointer[Run],
    read_at: int64_t,
    replied_at: int64_t,
    command: cython.short,
    command_class: cython.uchar,
    length: cython.Py_ssize_t,
) -> cython.pointer[Run]:
    """A reply of ``length`` bytes is in the send queue. Without memory it is not measured."""
    run: cython.pointer[Run] = cython.NULL if first is cython.NULL else first.last
    if run is cython.NULL or (
        (run.read_at != read_at or run.replied_at != replied_at or run.command != command) and first.n_runs < MOST_RUNS
    ):
        run = take_run()
        if run is cython.NULL:
            return first
        run.next = cython.NULL
        run.read_at = read_at
        run.replied_at = replied_at
        run.command = command
        run.command_class = command_class
        run.length = 0
        run.n = 0
        run.sampled = 0
        if first is cython.NULL:
            first = run
            first.total = 0
            first.n_runs = 0
        else:
            first.last.next = run
        first.last = run
        first.n_runs += 1
    run.n += 1
    run.length += length
    first.total += length
    return first


@cython.cfunc
@cython.exceptval(check=False)
def add_sampled(
    first: cython.pointer[Run],
    read_at: int64_t,
    replied_at: int64_t,
    command: cython.short,
    command_class: cython.uchar,
    length: cython.Py_ssize_t,
) -> cython.pointer[Run]:
    """As ``add_reply``, for a reply to a request of the sample of the access log. An empty one is not measured.

    Without memory, it counts as written with the reply before it; the result is NULL if there is none.
    """
    first = add_reply(first, read_at, replied_at, command, command_class, length)
    if first is not cython.NULL:
        first.last.sampled += 1
        if length == 0:
            first.last.n -= 1
    return first


@cython.cfunc
@cython.exceptval(check=False)
def note_written(
    first: cython.pointer[Run],
    pending: cython.Py_ssize_t,
    now: int64_t,
    counters: cython.pointer[Counter],
    slow_after: int64_t,
    written: cython.pointer[Written],
) -> cython.pointer[Run]:
    """All but the last ``pending`` bytes of the send queue were written at ``now``: count their replies.

    ``counters``: those of the pool. ``slow_after``: from this time on a request is slow. ``written``: is completed; a
    request that was slow when its reply arrived does not count in ``n``.
    """
    following: cython.pointer[Run]
    while first is not cython.NULL and first.total - first.length >= pending:
        counters[REPLIES_READ + first.command_class] += first.n
        written.sampled += first.sampled
        record(histogram_of(counters, POOL_HISTOGRAMS, first.command_class, WRITING), now - first.replied_at, first.n)
        record(histogram_of(counters, POOL_HISTOGRAMS, first.command_class, WHOLE), now - first.read_at, first.n)
        if (
            now - first.read_at >= slow_after
            and first.replied_at - first.read_at < slow_after
            and first.command_class != CLASS_BLOCKING
        ):
            if written.n == 0 or now - first.read_at > written.before + written.writing:
                written.command = first.command
                written.before = first.replied_at - first.read_at
                written.writing = now - first.replied_at
            written.n += first.n
        following = first.next
        if following is not cython.NULL:
            following.last = first.last
            following.total = first.total - first.length
            following.n_runs = first.n_runs - 1
        give_run(first)
        first = following
    return first


@cython.cfunc
@cython.exceptval(check=False)
def forget_unwritten(first: cython.pointer[Run]) -> cython.void:
    """The client is closed: its replies are not counted."""
    following: cython.pointer[Run]
    while first is not cython.NULL:
        following = first.next
        give_run(first)
        first = following
