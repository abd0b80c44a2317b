from twemproxy.proxy.reply_handler cimport ReplyHandler


cdef class InternalRequest(ReplyHandler):
    cdef object done
