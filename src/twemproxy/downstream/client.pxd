from twemproxy.net.block cimport Block
from twemproxy.protocol.request cimport Frame, Request
from twemproxy.downstream.client_stream cimport ClientStream


cdef class ClientConnection(ClientStream):
    cdef bint take_noticed(
        self, Frame frame, Request request, Block* block, Py_ssize_t start, Py_ssize_t end
    ) except -1
    cdef bint begin_sampled(self, Py_ssize_t length) except -1
    cdef int end_sampled(self, bint taken) except -1
    cdef int describe_sampled(self, Request request, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef bint take_request(self, Request request, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef bint route_request(self, Request request, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int sample(self, Request request, const unsigned char* data, Py_ssize_t length) except -1
    cdef bint forward_together(self, Request request, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int rewrite(self, Request request, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef bint take_slow_path(self, Request request, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int close_if_done(self) except -1
    cdef bint drop_request(self) except -1
