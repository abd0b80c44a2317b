"""Frames replies of memcached servers, and checks that each fits its request.

Sans-IO, dual. A reply must be of the kind that its request expects, because nothing else shows which request it belongs
to: a server that sends another kind has lost count, and its further replies cannot be trusted.
"""

from array import array

import cython

from twemproxy.protocol.memcache.commands import ERRORS, NUMBER, REPLY_KINDS, WORDS, word_mask

if not cython.compiled:
    from twemproxy.protocol.memcache.lines import find_newline
    from twemproxy.protocol.memcache.request_parser import MemcacheRequests
    from twemproxy.protocol.name_table import NameTable
    from twemproxy.protocol.request import COMPLETE, MALFORMED, NEED_MORE, Cursor, Frame

# commands.Follows, for C.
NOTHING_MORE = cython.declare(cython.const[cython.int], 0)
BLOCK = cython.declare(cython.const[cython.int], 1)
LAST_BLOCK = cython.declare(cython.const[cython.int], 2)
# commands.NUMBER, for C; the number of rows of ERROR, CLIENT_ERROR and SERVER_ERROR, which come first.
NUMBER_ROW = cython.declare(cython.const[cython.int], 24)
ERROR_ROWS = cython.declare(cython.const[cython.int], 3)

# Bits of Request.expected beside QUIET and NOREPLY: the kind.
KIND = cython.declare(cython.const[cython.int], 0x1F)

# Most bytes of a line; memcached's lines are far shorter.
MOST_REPLY_LINE = cython.declare(cython.const[cython.Py_ssize_t], 64 * 1024)
# Most bytes of a value, which is the largest limit that memcached can be given, and most digits of such a number.
MOST_BLOCK = cython.declare(cython.const[cython.Py_ssize_t], 1024 * 1024 * 1024)
MOST_BLOCK_DIGITS = cython.declare(cython.const[cython.Py_ssize_t], 10)
# Length of END and its line end, which follow the last value.
END_LINE = cython.declare(cython.const[cython.Py_ssize_t], 5)

# Returned by read_word and read_header in place of a row or a position.
NO_WORD = cython.declare(cython.const[cython.int], -1)
BROKEN = cython.declare(cython.const[cython.int], -1)


@cython.cclass
class MemcacheReplies(MemcacheRequests):
    """Frames replies. ``word_end``: the position after the last word read. ``block_length``: the last length read."""

    def __init__(self, allowed: "list[str]") -> None:
        """As MemcacheRequests."""
        MemcacheRequests.__init__(self, allowed)
        if NUMBER != NUMBER_ROW or len(REPLY_KINDS) > KIND + 1 or word_mask(ERRORS) != (1 << ERROR_ROWS) - 1:
            raise ValueError("the tables do not fit the code")
        self.words = NameTable([word.name for word in WORDS], any_case=False)
        self.follows = array("i", [word.follows for word in WORDS] + [NOTHING_MORE])
        self.accepted = array("I", [word_mask(f"{kind.words} {ERRORS}") for kind in REPLY_KINDS.values()])
        self.suppressible = array("I", [word_mask(kind.suppressible) for kind in REPLY_KINDS.values()])
        self.word_end = 0
        self.block_length = 0

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_word(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        at: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """The row of the first word of the line at ``at``, NUMBER_ROW for a number, NO_WORD for any other word."""
        first: cython.Py_ssize_t = at
        if at < end and ord(b"0") <= buf[at] <= ord(b"9"):
            while at < end and ord(b"0") <= buf[at] <= ord(b"9"):
                at += 1
            self.word_end = at
            return NUMBER_ROW if at == end or buf[at] <= ord(b" ") else NO_WORD
        while at < end and buf[at] > ord(b" "):
            at += 1
        self.word_end = at
        return self.words.find(buf, first, at)

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_header(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        at: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        arguments: cython.int,
    ) -> cython.Py_ssize_t:
        """Read ``block_length``, which follows ``arguments`` other arguments at ``at``; BROKEN if it does not.

        ``end``: where the line's end begins. Returns the position after the number.
        """
        first: cython.Py_ssize_t
        length: cython.Py_ssize_t = 0
        while arguments > 0:
            if at >= end or buf[at] != ord(b" "):
                return BROKEN
            at += 1
            first = at
            while at < end and buf[at] > ord(b" "):
                at += 1
            if at == first:
                return BROKEN
            arguments -= 1
        if at >= end or buf[at] != ord(b" "):
            return BROKEN
        at += 1
        first = at
        while at < end and ord(b"0") <= buf[at] <= ord(b"9"):
            length = length * 10 + (buf[at] - ord(b"0"))
            at += 1
            if at - first > MOST_BLOCK_DIGITS:
                return BROKEN
        if at == first or length > MOST_BLOCK or (at < end and buf[at] != ord(b" ")):
            return BROKEN
        self.block_length = length
        return at

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def more_reply(
        self, cursor: Cursor, start: cython.Py_ssize_t, at: cython.Py_ssize_t, position: cython.Py_ssize_t
    ) -> Frame:
        """NEED_MORE: framing continues with the line at ``at`` when the bytes reach ``position``."""
        cursor.at = at - start
        cursor.needed = position - start
        return NEED_MORE

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def frame_reply(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        expected: cython.uchar,
        cursor: Cursor,
    ) -> Frame:
        accepted: cython.uint = self.accepted[expected & KIND]
        at: cython.Py_ssize_t = start + cursor.at
        newline: cython.Py_ssize_t
        behind: cython.Py_ssize_t
        row: cython.int
        follows: cython.int
        cursor.at = 0
        while True:
            newline = find_newline(buf, at, end)
            if (newline if newline >= 0 else end) - at > MOST_REPLY_LINE:
                return MALFORMED
            if newline < 0:
                return self.more_reply(cursor, start, at, end + 1)
            if newline == at or buf[newline - 1] != ord(b"\r"):
                return MALFORMED
            row = self.read_word(buf, at, newline - 1)
            if row < 0 or not accepted >> row & 1:
                return MALFORMED
            follows = self.follows[row]
            behind = newline + 1
            if follows == BLOCK or follows == LAST_BLOCK:
                if self.read_header(buf, self.word_end, newline - 1, 2 if follows == BLOCK else 0) == BROKEN:
                    return MALFORMED
                behind += self.block_length + 2
                if behind > end:
                    return self.more_reply(cursor, start, at, behind + END_LINE if follows == BLOCK else behind)
                if buf[behind - 2] != ord(b"\r") or buf[behind - 1] != ord(b"\n"):
                    return MALFORMED
            at = behind
            if follows == NOTHING_MORE or follows == LAST_BLOCK:
                cursor.length = at - start
                return COMPLETE

    # --- properties of a complete reply ----------------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_error(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        return 0 <= self.read_word(buf, start, end) < ERROR_ROWS

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_suppressible(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        expected: cython.uchar,
    ) -> cython.bint:
        row: cython.int = self.read_word(buf, start, end)
        return row >= 0 and self.suppressible[expected & KIND] >> row & 1 != 0
