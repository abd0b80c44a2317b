from libc.stdint cimport int64_t

from twemproxy.stats.counters cimport Counter


# Replies that follow each other in a client's send queue, with the same times and the same command. `last`,
# `total` and `n_runs` are valid in the first run of a client only: its last run, the bytes of all runs, their number.
cdef struct Run:
    Run* next
    Run* last
    int64_t read_at         # when the requests were read, in microseconds of `EventLoop.real`
    int64_t replied_at      # when the replies arrived from the servers
    Py_ssize_t length       # bytes of the replies
    Py_ssize_t total
    unsigned int n          # how many replies there are
    unsigned int n_runs
    unsigned int sampled    # how many of the replies are to requests of the sample of the access log
    short command
    unsigned char command_class


# What a write has to tell beside its counters. `n`: replies that made their requests slow, and the times of the slowest:
# until it arrived, and from then on. `sampled`: replies to requests of the sample of the access log.
cdef struct Written:
    unsigned int n
    unsigned int sampled
    short command
    int64_t before
    int64_t writing


# The result of these is the first run of the client, NULL without any.
cdef Run* add_reply(
    Run* first, int64_t read_at, int64_t replied_at, short command, unsigned char command_class, Py_ssize_t length
) noexcept
cdef Run* add_sampled(
    Run* first, int64_t read_at, int64_t replied_at, short command, unsigned char command_class, Py_ssize_t length
) noexcept
cdef Run* note_written(
    Run* first, Py_ssize_t pending, int64_t now, Counter* counters, int64_t slow_after, Written* written
) noexcept
cdef void forget_unwritten(Run* first) noexcept
