cimport cython

from twemproxy.protocol.codec cimport put_number
