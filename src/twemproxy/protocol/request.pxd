# The result of framing.
cdef enum Frame:
    NEED_MORE      # incomplete; the cursor says where framing continues
    COMPLETE       # a complete message, of the cursor's `length`
    EMPTY          # `length` bytes without a request
    INLINE         # a complete request of `length` bytes that must be rewritten and framed again
    MALFORMED      # no message can be found here or later; the request's `problem` is set
    FOREIGN        # an HTTP request

# The route of a complete request.
cdef enum Route:
    TO_KEY         # to the server of the key at key_start..key_end
    TO_ANY         # to any one server
    SINGLE_SERVER  # to the only server; refused in a pool of several
    SCATTER        # split: `items` keys, the replies merged as `merge` says
    BROADCAST      # to every server, the replies merged as `merge` says
    COLOCATED      # to the server that has all of `keys`; refused without such a server
    SLOW_PATH      # as `plan` says
    REJECT      # refused; `problem` is set
    TO_CHANNEL     # to the server of the channel at key_start..key_end; the reply counts the clients that got the message

# How the replies of a split request are merged.
cdef enum Merge:
    VALUES         # values in key order
    SUM            # the sum of the integers
    STATUS         # the first reply if all have succeeded
    CUSTOM         # by `merge_replies`

# Flag bits of `expected`, ORed with the codec's reply kind: which replies the client wants.
cdef enum:
    RESP3 = 0x20   # replies in version 3 of the redis protocol
    QUIET = 0x40   # no replies for which `is_suppressible` is true
    NOREPLY = 0x80 # no replies at all, errors included

# Values of `discard` that are not a number of bytes.
cdef enum:
    REST_OF_LINE = -1   # everything up to and including the next line end
    ARGUMENTS = -2      # `discard_arguments` arguments


cdef class Cursor:
    cdef readonly Py_ssize_t at
    cdef readonly Py_ssize_t left
    cdef readonly Py_ssize_t needed
    cdef readonly Py_ssize_t length

    cdef void restart(self) noexcept nogil


cdef class Request:
    cdef readonly int command
    cdef readonly unsigned char command_class
    cdef readonly Route route
    cdef readonly Merge merge
    cdef readonly Py_ssize_t items
    cdef readonly Py_ssize_t items_start
    cdef readonly Py_ssize_t items_end
    cdef readonly Py_ssize_t arguments
    cdef readonly Py_ssize_t key_start
    cdef readonly Py_ssize_t key_end
    cdef readonly bint key_decoded
    cdef unsigned char[::1] decoded
    cdef readonly Py_ssize_t prefix_start
    cdef readonly Py_ssize_t prefix_end
    cdef readonly Py_ssize_t strip_start
    cdef readonly Py_ssize_t strip_end
    cdef readonly Py_ssize_t discard
    cdef readonly Py_ssize_t discard_arguments
    cdef readonly unsigned char expected
    cdef readonly unsigned char required_features
    cdef readonly int profile_needed
    cdef readonly bint retryable
    cdef readonly bint remembers_script
    cdef readonly int problem
    cdef readonly unsigned char found


cdef class Item:
    cdef readonly Py_ssize_t start
    cdef readonly Py_ssize_t end
    cdef readonly Py_ssize_t key_start
    cdef readonly Py_ssize_t key_end
    cdef Py_ssize_t arguments
    cdef Py_ssize_t last
    cdef Py_ssize_t index
