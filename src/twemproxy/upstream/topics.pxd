from libc.stdint cimport int64_t


cdef class Subscriber:
    cdef object client
    cdef Py_ssize_t held


cdef class Link


cdef class Topic:
    cdef str kind
    cdef bytes name
    cdef tuple links
    cdef tuple former
    cdef tuple left
    cdef bint is_moving
    cdef bint is_missing
    cdef tuple unanswered
    cdef tuple requests
    cdef Subscriber subscriber
    cdef dict subscribers

    cdef bint is_confirmed(self) noexcept
    cdef bint is_lost(self) noexcept
    cdef bint is_wanted(self) noexcept
    cdef bint has(self, Subscriber subscriber) except -1
    cdef int add(self, Subscriber subscriber) except -1
    cdef int remove(self, Subscriber subscriber) except -1
    cdef int forget_request(self, object request) except -1
    cdef list clients(self)
    cdef Py_ssize_t n_subscribers(self) noexcept
    cdef Py_ssize_t size(self) noexcept
    cdef bint misses_at(self, object server) except -1
    cdef bint misses_from(self, Link link) except -1
    cdef bint misses(self) except -1


cdef class TopicTable:
    cdef list shards

    cdef dict shard(self, bytes name)
    cdef Topic find(self, bytes name)


cdef class Batch:
    cdef str kind
    cdef bint subscribes
    cdef list topics
    cdef Py_ssize_t answered
    cdef bytes head
    cdef tuple waiting

    cdef int end(self) except -1


cdef class Link:
    cdef object server
    cdef object connection
    cdef tuple singleton
    cdef object batches
    cdef Py_ssize_t unsent
    cdef Py_ssize_t asked
    cdef Py_ssize_t held
    cdef int64_t heard_at
    cdef object timer
    cdef bint is_lost
    cdef bytes error
    cdef Py_ssize_t kept
    cdef bint is_confirmed
    cdef bint is_replaced

    cdef int add(self, Topic topic, bint subscribes, Py_ssize_t most) except -1
    cdef int answered(self, Topic topic) except -1
    cdef int forget(self, Topic topic) except -1
    cdef bint is_twin(self, Link other) except -1
    cdef Link twin_in(self, tuple links)
    cdef int lose(self, bytes error) except -1


cdef class Copies:
    cdef dict balances

    cdef bint is_copy(self, Link link, Topic topic, bytes message) except -1
    cdef void clear(self) noexcept


cdef class Published:
    cdef Py_ssize_t now
    cdef Py_ssize_t before
    cdef unsigned int routes

    cdef unsigned int begin(self) noexcept
    cdef void end(self, unsigned int routes) noexcept
    cdef void change_routes(self) noexcept


cdef class TopicRequest:
    cdef object subscriptions
    cdef list topics
    cdef Py_ssize_t ahead
    cdef Py_ssize_t enough
    cdef Py_ssize_t taken
    cdef Py_ssize_t held
    cdef tuple singleton
    cdef object client
    cdef str kind
    cdef readonly bytes error

    cdef int lose_confirmation(self) except -1
    cdef int confirm(self) except -1
    cdef int fail(self, bytes error) except -1


cdef class UnsubscribeRequest:
    cdef object subscriptions
    cdef object client
    cdef str kind
    cdef Py_ssize_t ahead

    cdef int wait_for(self, Batch batch) except -1
    cdef int confirm(self) except -1


cdef Py_ssize_t TOPIC_BYTES
cdef Py_ssize_t SUBSCRIPTION_BYTES
