from twemproxy.protocol.codec cimport SUM, VALUES, Merge, put_number
from twemproxy.protocol.redis.framing cimport RespFraming


cdef class RedisCodec(RespFraming):
    pass
