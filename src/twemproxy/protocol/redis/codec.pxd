from twemproxy.protocol.codec cimport RESP3, SUM, VALUES, Merge, put_number
from twemproxy.protocol.redis.framing cimport RespFraming


cdef class RedisCodec(RespFraming):
    pass
