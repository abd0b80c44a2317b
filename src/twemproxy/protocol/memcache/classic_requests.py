"""Frames requests of memcached's classic text protocol: lines, their arguments, and data blocks.

Sans-IO, dual. The wire format is memcached's doc/protocol.txt. A request goes to a connection that clients share. So a
request that is COMPLETE and not refused is one that every memcached reads in the same way: one line, one data block if
the command has one, one reply. A request that some memcached might read otherwise is refused, and its data block
discarded.
"""

from array import array
from collections.abc import Collection

import cython

from twemproxy.protocol.command_classes import CommandClass
from twemproxy.protocol.memcache.commands import COMMANDS, KIND_NAMES, class_of

if not cython.compiled:
    from twemproxy.protocol.codec import Codec
    from twemproxy.protocol.memcache.lines import find_newline
    from twemproxy.protocol.name_table import NameTable
    from twemproxy.protocol.request import (
        COMPLETE,
        MALFORMED,
        NEED_MORE,
        NOREPLY,
        REJECT,
        REST_OF_LINE,
        SCATTER,
        TO_KEY,
        VALUES,
        Cursor,
        Frame,
        Request,
    )

    Length = int
    GOOD_LENGTH, ODD_LENGTH, LARGE_LENGTH, ENDLESS_LENGTH, NO_LENGTH = range(5)

# commands.MOST_..., for C.
MOST_KEY = cython.declare(cython.const[cython.Py_ssize_t], 250)
MOST_LINE = cython.declare(cython.const[cython.Py_ssize_t], 2048)
MOST_KEYS_LINE = cython.declare(cython.const[cython.Py_ssize_t], 16 * 1024 * 1024)
# Most blanks before a line that is longer than MOST_LINE; memcached closes a connection with more.
MOST_LEADING_BLANKS = cython.declare(cython.const[cython.Py_ssize_t], 100)
MOST_ACCEPTED = cython.declare(cython.const[cython.Py_ssize_t], 1024 * 1024 * 1024)
MOST_DECLARED = cython.declare(cython.const[cython.Py_ssize_t], 2147483645)
# The absolute value of the smallest signed number of 32 bits.
MOST_NEGATIVE = cython.declare(cython.const[cython.ulonglong], 2147483648)
# Most digits of a number of 64 bits.
MOST_DIGITS = cython.declare(cython.const[cython.Py_ssize_t], 20)

# commands.Form, for C.
CAS = cython.declare(cython.const[cython.int], 1)
RETRIEVAL = cython.declare(cython.const[cython.int], 2)
RETRIEVAL_TOUCH = cython.declare(cython.const[cython.int], 3)
ARITHMETIC = cython.declare(cython.const[cython.int], 4)

# errors.Problem, for C.
NO_PROBLEM = cython.declare(cython.const[cython.int], 0)
UNKNOWN = cython.declare(cython.const[cython.int], 1)
BAD_LINE = cython.declare(cython.const[cython.int], 2)
BAD_EXPTIME = cython.declare(cython.const[cython.int], 3)
BAD_DELTA = cython.declare(cython.const[cython.int], 4)
BAD_DELETE = cython.declare(cython.const[cython.int], 5)
BAD_DATA = cython.declare(cython.const[cython.int], 6)
TOO_LARGE = cython.declare(cython.const[cython.int], 7)
LONG_LINE = cython.declare(cython.const[cython.int], 18)

# Arguments with a meaning, in the order of their rows.
KEYWORDS = ("noreply", "0", "sizes_enable", "sizes_disable")
NOREPLY_WORD = cython.declare(cython.const[cython.int], 0)
ZERO = cython.declare(cython.const[cython.int], 1)


@cython.cclass
class ClassicRequests(Codec):
    """Reads lines. The fields that change are about the last line read, and valid until the next one.

    ``line_start``, ``content_end``, ``line_end``: the positions of the line's beginning, after its last argument, and
    after its end. ``token_start`` to ``token_end``: the current argument; ``token_clean``: it has no control
    characters. ``length``: the result of ``read_length``.
    """

    def __init__(self, allowed: Collection[str]) -> None:
        """``allowed``: names of the commands that need permission and have it."""
        Codec.__init__(self)
        self.names = NameTable([command.name for command in COMMANDS], any_case=False)
        self.keywords = NameTable(KEYWORDS, any_case=False)
        self.forms = array("i", [command.form for command in COMMANDS])
        # Of an unknown command, then of each row.
        self.classes = array("i", [CommandClass.OTHER, *map(class_of, COMMANDS)])
        self.reply_kinds = array("i", [KIND_NAMES.index(command.reply) if command.reply else 0 for command in COMMANDS])
        self.allow(allowed)
        self.matches_keys = True
        self.token_start = 0
        self.token_end = 0
        self.token_clean = True
        self.line_start = 0
        self.line_end = 0
        self.content_end = 0
        self.length = 0
        self.last_is_noreply = False

    def allow(self, allowed: Collection[str]) -> None:
        """``allowed``: names of the commands that need permission and have it from now on."""
        self.allowed = array("i", [not command.permission or command.name in allowed for command in COMMANDS])

    # --- arguments -------------------------------------------------------------------------------------------------

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def next_token(self, buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Read the next argument at or after ``at``; returns the position after it."""
        end: cython.Py_ssize_t = self.content_end
        while at < end and buf[at] == ord(b" "):
            at += 1
        self.token_start = at
        while at < end and buf[at] > ord(b" ") and buf[at] != 127:
            at += 1
        self.token_clean = at == end or buf[at] == ord(b" ")
        while at < end and buf[at] != ord(b" "):
            at += 1
        self.token_end = at
        return at

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def has_token(self) -> cython.bint:
        """Whether ``next_token`` has found an argument."""
        return self.token_end > self.token_start

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def is_key(self) -> cython.bint:
        """Whether the current argument is a valid key."""
        return self.token_clean and 0 < self.token_end - self.token_start <= MOST_KEY

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def take_key(self, request: Request) -> cython.void:
        """Make the current argument the request's key."""
        request.key_start = self.token_start - self.line_start
        request.key_end = self.token_end - self.line_start

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_unsigned(self, buf: cython.pointer[cython.const[cython.uchar]], bits: cython.int) -> cython.bint:
        """Whether the argument, from ``token_start`` on, is a decimal number that fits into ``bits`` bits."""
        return self.is_at_most(buf, ((cython.cast(cython.ulonglong, 1) << (bits - 1)) - 1) * 2 + 1)

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_at_most(self, buf: cython.pointer[cython.const[cython.uchar]], most: cython.ulonglong) -> cython.bint:
        """Whether the argument, from ``token_start`` on, is a decimal number up to ``most``, which is above 9."""
        at: cython.Py_ssize_t = self.token_start
        value: cython.ulonglong = 0
        digit: cython.ulonglong
        if at >= self.token_end or self.token_end - at > MOST_DIGITS:
            return False
        while at < self.token_end:
            if not ord(b"0") <= buf[at] <= ord(b"9"):
                return False
            digit = buf[at] - ord(b"0")
            if value > (most - digit) // 10:
                return False
            value = value * 10 + digit
            at += 1
        return True

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_exptime(self, buf: cython.pointer[cython.const[cython.uchar]]) -> cython.bint:
        """Whether the argument, from ``token_start`` on, is a time: a signed decimal number of 32 bits."""
        good: cython.bint
        if self.token_start < self.token_end and buf[self.token_start] == ord(b"-"):
            self.token_start += 1
            good = self.is_at_most(buf, MOST_NEGATIVE)
            self.token_start -= 1
            return good
        return self.is_unsigned(buf, 31)

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def keyword(self, buf: cython.pointer[cython.const[cython.uchar]]) -> cython.int:
        """The argument's row in KEYWORDS, -1 for none."""
        return self.keywords.find(buf, self.token_start, self.token_end)

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def count_surplus(
        self, buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, request: Request
    ) -> cython.int:
        """Count the arguments from ``at`` on; ``last_is_noreply``: set to whether the line's last argument is noreply.

        These arguments are stripped: noreply, because every request on a shared connection must have a reply, and the
        others because memcached ignores them.
        """
        count: cython.int = 0
        request.strip_start = at - self.line_start
        request.strip_end = self.content_end - self.line_start
        while True:
            self.last_is_noreply = self.token_end - self.token_start == 7 and self.keyword(buf) == NOREPLY_WORD
            if at == self.content_end:
                return count
            at = self.next_token(buf, at)
            if not self.has_token():
                return count
            count += 1

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_length(self, buf: cython.pointer[cython.const[cython.uchar]]) -> Length:
        """Read the argument as the length of a data block; sets ``length``, except for ENDLESS_LENGTH and NO_LENGTH.

        memcached reads numbers as strtol(3) does: white space other than blanks, or a sign, may come before the digits,
        and white space or a NUL after them. It may read a data block after such a length, so all these forms are
        recognized.
        """
        at: cython.Py_ssize_t = self.token_start
        first: cython.Py_ssize_t
        length: cython.Py_ssize_t = 0
        odd: cython.bint = False
        negative: cython.bint = False
        while at < self.token_end and 9 <= buf[at] <= 13:
            odd = True
            at += 1
        if at < self.token_end and (buf[at] == ord(b"+") or buf[at] == ord(b"-")):
            odd = True
            negative = buf[at] == ord(b"-")
            at += 1
        first = at
        while at < self.token_end and ord(b"0") <= buf[at] <= ord(b"9"):
            if length <= MOST_DECLARED:
                length = length * 10 + (buf[at] - ord(b"0"))
            at += 1
        if at == first or (at < self.token_end and buf[at] != 0 and not 9 <= buf[at] <= 13):
            return NO_LENGTH
        if negative and length > 0:
            return NO_LENGTH
        if length > MOST_DECLARED:
            return ENDLESS_LENGTH
        self.length = length
        if odd or at < self.token_end or at - first > MOST_DIGITS:
            return ODD_LENGTH
        return LARGE_LENGTH if length > MOST_ACCEPTED else GOOD_LENGTH

    # --- lines -----------------------------------------------------------------------------------------------------

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def refuse(self, request: Request, problem: cython.int) -> Frame:
        """The result for a complete request that gets an error."""
        request.problem = problem
        request.route = REJECT
        return COMPLETE

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def malformed(self, request: Request, problem: cython.int) -> Frame:
        request.problem = problem
        return MALFORMED

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def find_line(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        cursor: Cursor,
        request: Request,
    ) -> Frame:
        """COMPLETE if the line at ``start`` is complete and not too long; sets ``command``."""
        newline: cython.Py_ssize_t = find_newline(buf, start + cursor.at, end)
        self.line_start = start
        self.content_end = newline if newline >= 0 else end
        self.line_end = self.content_end + 1
        if newline > start and buf[newline - 1] == ord(b"\r"):
            self.content_end -= 1
        while newline >= 0 and self.content_end > start and buf[self.content_end - 1] == ord(b" "):
            self.content_end -= 1
        cursor.length = self.line_end - start
        self.next_token(buf, start)
        request.command = self.names.find(buf, self.token_start, self.token_end)
        if self.line_end - start > MOST_LINE and (
            self.line_end - start > MOST_KEYS_LINE
            or self.token_start - start > MOST_LEADING_BLANKS
            or request.command < 0
            or self.forms[request.command] != RETRIEVAL
        ):
            return self.malformed(request, LONG_LINE)
        cursor.at = 0
        if newline < 0:
            cursor.at = end - start
            cursor.needed = end - start + 1
            return NEED_MORE
        return COMPLETE

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def skip_request(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        cursor: Cursor,
        request: Request,
    ) -> Frame:
        if cursor.at == 0:
            # The line is complete, and the data block is not.
            request.discard = cursor.needed - (end - start)
        elif request.command >= 0 and self.forms[request.command] == RETRIEVAL:
            request.discard = REST_OF_LINE
        else:
            # A data block may follow this line and must not be read as commands; the line has up to MOST_LINE bytes.
            return NEED_MORE
        cursor.at = 0
        cursor.length = end - start
        return COMPLETE

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_retrieval(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        at: cython.Py_ssize_t,
        form: cython.int,
        request: Request,
    ) -> Frame:
        request.items = 0
        if form == RETRIEVAL_TOUCH:
            at = self.next_token(buf, at)
            if not self.has_token():
                return self.refuse(request, UNKNOWN)
            if not self.is_exptime(buf):
                return self.refuse(request, BAD_EXPTIME)
            request.prefix_start = self.token_start - self.line_start
            request.prefix_end = self.token_end - self.line_start
        request.items_start = at - self.line_start
        request.items_end = self.content_end - self.line_start
        while True:
            at = self.next_token(buf, at)
            if not self.has_token():
                break
            if not self.is_key():
                return self.refuse(request, BAD_LINE)
            self.take_key(request)
            request.items += 1
        if request.items == 0:
            return self.refuse(request, UNKNOWN)
        request.route = TO_KEY if request.items == 1 else SCATTER
        request.merge = VALUES
        return COMPLETE

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_storage(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        at: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        form: cython.int,
        cursor: Cursor,
        request: Request,
    ) -> Frame:
        problem: cython.int = NO_PROBLEM
        length: Length
        surplus: cython.int
        at = self.next_token(buf, at)
        self.take_key(request)
        if not self.is_key():
            problem = BAD_LINE
        at = self.next_token(buf, at)
        if not self.is_unsigned(buf, 32):
            problem = BAD_LINE
        at = self.next_token(buf, at)
        if not self.is_exptime(buf):
            problem = BAD_LINE
        at = self.next_token(buf, at)
        if not self.has_token():
            return self.refuse(request, UNKNOWN)
        length = self.read_length(buf)
        if form == CAS:
            at = self.next_token(buf, at)
            if not self.has_token():
                return self.read_block(buf, start, end, length, UNKNOWN, cursor, request)
            if not self.is_unsigned(buf, 64):
                problem = BAD_LINE
        surplus = self.count_surplus(buf, at, request)
        if surplus > 1:
            problem = UNKNOWN
        elif self.last_is_noreply:
            request.expected |= NOREPLY
        return self.read_block(buf, start, end, length, problem, cursor, request)

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_block(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        length: Length,
        problem: cython.int,
        cursor: Cursor,
        request: Request,
    ) -> Frame:
        """Read the data block after a line with this ``problem``, which may be NO_PROBLEM."""
        body: cython.Py_ssize_t
        if length == NO_LENGTH:
            return self.refuse(request, BAD_LINE if problem == NO_PROBLEM else problem)
        if length == ENDLESS_LENGTH:
            # The end of the block is unknown, and the block must not be read as commands.
            return self.malformed(request, BAD_LINE)
        if problem == NO_PROBLEM and length == ODD_LENGTH:
            problem = BAD_LINE
        if problem == NO_PROBLEM and length == LARGE_LENGTH:
            problem = TOO_LARGE
        if problem != NO_PROBLEM:
            request.discard = self.length + 2
            return self.refuse(request, problem)
        body = self.line_end + self.length + 2
        if body > end:
            cursor.needed = body - start
            return NEED_MORE
        cursor.length = body - start
        if buf[body - 2] != ord(b"\r") or buf[body - 1] != ord(b"\n"):
            if buf[body - 1] != ord(b"\n"):
                request.discard = REST_OF_LINE
            return self.refuse(request, BAD_DATA)
        request.route = TO_KEY
        return COMPLETE

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_change(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        at: cython.Py_ssize_t,
        form: cython.int,
        request: Request,
    ) -> Frame:
        good_key: cython.bint
        good_number: cython.bint
        at = self.next_token(buf, at)
        good_key = self.is_key()
        self.take_key(request)
        at = self.next_token(buf, at)
        if not self.has_token():
            return self.refuse(request, UNKNOWN)
        good_number = self.is_unsigned(buf, 64) if form == ARITHMETIC else self.is_exptime(buf)
        if self.count_surplus(buf, at, request) > 1:
            return self.refuse(request, UNKNOWN)
        if self.last_is_noreply:
            request.expected |= NOREPLY
        if not good_key:
            return self.refuse(request, BAD_LINE)
        if not good_number:
            return self.refuse(request, BAD_DELTA if form == ARITHMETIC else BAD_EXPTIME)
        request.route = TO_KEY
        return COMPLETE

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_delete(
        self, buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, request: Request
    ) -> Frame:
        good_key: cython.bint
        zero: cython.bint
        surplus: cython.int
        at = self.next_token(buf, at)
        if not self.has_token():
            return self.refuse(request, UNKNOWN)
        good_key = self.is_key()
        self.take_key(request)
        self.next_token(buf, at)
        zero = self.keyword(buf) == ZERO
        self.token_end = self.token_start
        surplus = self.count_surplus(buf, at, request)
        if surplus > 2:
            return self.refuse(request, UNKNOWN)
        if self.last_is_noreply:
            request.expected |= NOREPLY
        if surplus > 0 and not (zero if surplus == 2 else zero or self.last_is_noreply):
            return self.refuse(request, BAD_DELETE)
        if surplus == 2 and not self.last_is_noreply:
            return self.refuse(request, BAD_DELETE)
        if not good_key:
            return self.refuse(request, BAD_LINE)
        request.route = TO_KEY
        return COMPLETE
