from libc.stdint cimport int64_t

from twemproxy.upstream.topics cimport (
    Batch,
    Copies,
    Link,
    Published,
    Subscriber,
    Topic,
    TopicRequest,
    TopicTable,
)


cdef class Subscriptions:
    cdef object pool
    cdef object messages
    cdef object answers
    cdef object comes_from_anywhere
    cdef object is_random
    cdef object server_of
    cdef object now
    cdef dict tables
    cdef Py_ssize_t n_topics
    cdef Py_ssize_t change
    cdef dict subscribers_of
    cdef dict links
    cdef dict unsent
    cdef object chores
    cdef object chore_timer
    cdef tuple everywhere
    cdef list leaving
    cdef dict publishers
    cdef Copies copies
    cdef Py_ssize_t n_moving
    cdef Py_ssize_t n_moved
    cdef Py_ssize_t rebalances
    cdef bint rebalance_wanted
    cdef readonly object audiences
    cdef readonly object agreement
    cdef Py_ssize_t n_missing
    cdef Published published
    cdef bint leaves_later

    cdef int tell_change(self) except -1
    cdef TopicTable table(self, str kind)
    cdef Topic find(self, str kind, bytes name)
    cdef Topic begin_topic(self, str kind, bytes name)
    cdef tuple links_of(self, str kind, bytes name)
    cdef int remove_subscriber(self, Subscriber subscriber, str kind, bytes name) except -1
    cdef int end_unwanted(self, Topic topic) except -1
    cdef int forget(self, Topic topic) except -1
    cdef int fail(self, Topic topic, bytes error, str why) except -1
    cdef int move(self, Topic topic, tuple links) except -1
    cdef int leave_former(self, Topic topic) except -1
    cdef int forget_former(self, Topic topic) except -1
    cdef int end_of_left(self, Link link, Topic topic) except -1
    cdef bint ends_too_early(self, Link link, Topic topic) except -1
    cdef int lose_former(self, Link link, Topic topic) except -1
    cdef int note_move(self, Topic topic) except -1
    cdef int note_missing(self, Topic topic) except -1
    cdef int wake_publishers(self) except -1
    cdef list all_links(self)
    cdef int64_t timeout_of(self, Link link) except -1
    cdef int replace_lost_links(self, Topic topic) except -1
    cdef int add_chore(self, object chore) except -1
    cpdef int do_chores(self) except -1
    cdef Link link(self, object server)
    cdef int send(self, Link link, Topic topic, bint subscribes) except -1
    cdef int write(self) except -1
    cdef int close_links_later(self) except -1
    cdef int close_unused_links(self) except -1
    cdef int close_link(self, Link link) except -1
    cdef int remove_link(self, Link link, bytes error) except -1
    cdef str on_message(self, Link link, bytes message)
    cdef int answered(self, Link link, Batch batch, Topic topic) except -1
    cdef int on_confirmed(self, Link link, Topic topic) except -1
    cdef int refused(self, Link link, bytes error) except -1
    cdef int publish(self, Link link, str kind, bytes name, bytes message) except -1
    cdef int drop_link(self, Link link, bytes error) except -1
    cdef list topics_of(self, str kind, bytes name)
