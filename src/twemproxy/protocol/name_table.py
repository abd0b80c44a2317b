"""Looks up words of a protocol, such as command names, in a buffer.

Sans-IO, dual.
"""

from array import array
from collections.abc import Sequence
from itertools import accumulate

import cython

# Short names that are kept, a power of two.
FOUND = cython.declare(cython.const[cython.int], 64)
# An odd number near 2**16 divided by the golden ratio: it spreads numbers over the bits from 16 on of a product.
SPREAD = cython.declare(cython.const[cython.uint], 40503)


def name_hash(name: bytes) -> int:
    """The hash of a name, as ``NameTable.find`` computes it."""
    value = len(name)
    for byte in name:
        value = (value * 31 + byte) & 0x7FFFFFFF
    return value


@cython.final
@cython.cclass
class NameTable:
    """Row numbers by name; a name's row is its position in the sequence that the table is made from.

    ``found``: short names that were found, with their lengths, as numbers; their ``rows``. Few names are used, and most
    of them are short.
    """

    def __init__(self, names: Sequence[str], any_case: bool) -> None:
        """``names``: ASCII, unique, up to 8192. ``any_case``: the names are lower case, and are found in any case."""
        row: cython.int
        slot: cython.int
        size: cython.int = 64
        while size < 4 * len(names):
            size *= 2
        self.any_case = any_case
        self.mask = size - 1
        self.slots = array("h", [-1] * size)
        self.names = "".join(names).encode("ascii")
        self.starts = array("i", [0, *accumulate(len(name) for name in names)])
        self.found = array("Q", [0] * FOUND)
        self.rows = array("h", [-1] * FOUND)
        for row, name in enumerate(names):
            slot = name_hash(name.encode("ascii")) & (size - 1)
            while self.slots[slot] >= 0:
                slot = (slot + 1) & (size - 1)
            self.slots[slot] = row

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def find(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """The row of the name ``buf[start:end]``, -1 for none."""
        i: cython.Py_ssize_t
        word: cython.ulonglong = end - start
        mixed: cython.uint
        place: cython.Py_ssize_t
        row: cython.int
        if not 0 < end - start < 8:
            return self.look_up(buf, start, end)
        for i in range(start, end):
            word = (word << 8) | buf[i]
        mixed = (word ^ (word >> 28)) & 0x7FFFFFFF
        place = (mixed * SPREAD >> 16) & (FOUND - 1)
        if self.found[place] == word:
            return self.rows[place]
        row = self.look_up(buf, start, end)
        if row >= 0:
            self.found[place] = word
            self.rows[place] = row
        return row

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def look_up(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """As ``find``."""
        value: cython.uint = end - start
        byte: cython.uchar
        i: cython.Py_ssize_t = start
        slot: cython.Py_ssize_t
        row: cython.int
        at: cython.Py_ssize_t
        while i < end:
            byte = buf[i]
            if self.any_case and ord(b"A") <= byte <= ord(b"Z"):
                byte = byte + 32
            value = (value * 31 + byte) & 0x7FFFFFFF
            i += 1
        slot = value & self.mask
        while True:
            row = self.slots[slot]
            if row < 0:
                return -1
            at = self.starts[row]
            if self.starts[row + 1] - at == end - start:
                i = start
                while i < end:
                    byte = buf[i]
                    if self.any_case and ord(b"A") <= byte <= ord(b"Z"):
                        byte = byte + 32
                    if byte != self.names[at + i - start]:
                        break
                    i += 1
                if i == end:
                    return row
            slot = (slot + 1) & self.mask

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def length_of(self, row: cython.int) -> cython.Py_ssize_t:
        """The length in bytes of the name of a row."""
        return self.starts[row + 1] - self.starts[row]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put(self, out: cython.p_uchar, at: cython.Py_ssize_t, row: cython.int) -> cython.Py_ssize_t:
        """Write the name of a row at ``out[at]``; returns the position after it."""
        i: cython.Py_ssize_t
        for i in range(self.starts[row], self.starts[row + 1]):
            out[at] = self.names[i]
            at += 1
        return at

    def row_of(self, name: bytes) -> int:
        """``find`` of a whole name (for tests and tools)."""
        return self.find(name, 0, len(name))
