from libc.stdint cimport int64_t

from twemproxy.libc.bits cimport leading_zeros
from twemproxy.stats.counters cimport Counter
from twemproxy.stats.positions cimport HISTOGRAM_WORDS, RESPONSES_READ, SERVER_HISTOGRAMS

# The functions that run for every request are inlined. `bucket_of` of the module is the same as here.

# The bucket of a value in microseconds.
cdef inline int bucket_of(int64_t microseconds) noexcept nogil:
    cdef int power
    cdef int bucket
    if microseconds < 4:
        return <int> microseconds if microseconds > 0 else 0
    power = 63 - leading_zeros(<unsigned long long> microseconds)
    bucket = 4 * (power - 1) + <int> ((microseconds >> (power - 2)) & 3)
    return bucket if bucket < HISTOGRAM_WORDS - 1 else HISTOGRAM_WORDS - 2


# Count a value `n` times in a histogram of the process's own table.
cdef inline void record(Counter* histogram, int64_t microseconds, Counter n) noexcept nogil:
    if microseconds < 0:
        microseconds = 0
    histogram[bucket_of(microseconds)] += n
    histogram[HISTOGRAM_WORDS - 1] += <Counter> microseconds * n


# The histogram of a command class and a phase (0 or 1, in the order of `stats.catalogue`), after the counters of a pool
# or of a server; `first`: POOL_HISTOGRAMS or SERVER_HISTOGRAMS.
cdef inline Counter* histogram_of(Counter* counters, int first, int command_class, int phase) noexcept nogil:
    return counters + first + (2 * command_class + phase) * HISTOGRAM_WORDS


# Count the two phases of `stats.catalogue.SERVER_PHASES`. `counters`: the server's. `sent_at`: 0 if the reply came before
# the end of the request was sent.
cdef inline void record_response(
    Counter* counters, int command_class, int64_t read_at, int64_t sent_at, int64_t replied_at
) noexcept nogil:
    if sent_at == 0:
        sent_at = replied_at
    counters[RESPONSES_READ + command_class] += 1
    record(histogram_of(counters, SERVER_HISTOGRAMS, command_class, 0), sent_at - read_at, 1)
    record(histogram_of(counters, SERVER_HISTOGRAMS, command_class, 1), replied_at - sent_at, 1)
