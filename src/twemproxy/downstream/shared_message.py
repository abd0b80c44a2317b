"""A message for many clients, of which memory has one copy.

Compiled-only.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython.cimports.libc.string import memcmp, memcpy
from cython.cimports.twemproxy.net.block import BlockPool, block_bytes
from cython.cimports.twemproxy.net.send_queue import SendQueue


@cython.no_gc_clear
@cython.final
@cython.cclass
class SharedMessage:
    """A message in a block; send queues hold the block, so this object may be freed before they have sent it."""

    def __init__(self, blocks: BlockPool, message: bytes) -> None:
        """``message`` is copied."""
        self.blocks = blocks
        self.length = PyBytes_GET_SIZE(message)
        self.block = blocks.take(self.length)
        memcpy(block_bytes(self.block), PyBytes_AS_STRING(message), self.length)

    def __dealloc__(self) -> None:
        if self.block is not cython.NULL:
            self.blocks.release(self.block)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def append_to(self, out: SendQueue, beginning: bytes) -> cython.int:
        """Append the message to a queue, with ``beginning`` in place of its first bytes."""
        data: cython.p_uchar = block_bytes(self.block)
        replaced: cython.Py_ssize_t = min(PyBytes_GET_SIZE(beginning), self.length)
        if memcmp(data, PyBytes_AS_STRING(beginning), replaced) == 0:
            replaced = 0
        out.append(self.blocks, cython.cast(cython.p_uchar, PyBytes_AS_STRING(beginning)), replaced)
        return out.append_held(self.blocks, self.block, data + replaced, self.length - replaced)
