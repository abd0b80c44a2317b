"""Requests of memcached's classic text protocol: lines, their arguments, and data blocks.

Sans-IO, dual. The wire format is memcached's doc/protocol.txt. A request goes to a connection that clients share, so
what is COMPLETE and not refused is one that every memcached reads the same way: one line, one data block if the
command has one, one reply. What a memcached might read otherwise is refused here, and its data block dropped.
"""

from array import array
from collections.abc import Collection

import cython

from twemproxy.protocol.memcache.commands import COMMANDS, KIND_NAMES

if not cython.compiled:
    from twemproxy.protocol.codec import (
        COMPLETE,
        MALFORMED,
        MUTED,
        NEED_MORE,
        REST_OF_LINE,
        TO_EACH,
        TO_KEY,
        TO_NOBODY,
        VALUES,
        Codec,
        Frame,
    )
    from twemproxy.protocol.memcache.lines import find_newline
    from twemproxy.protocol.name_table import NameTable

    Length = int
    GOOD_LENGTH, ODD_LENGTH, LARGE_LENGTH, ENDLESS_LENGTH, NO_LENGTH = range(5)

# commands.MOST_..., for C.
MOST_KEY = cython.declare(cython.const[cython.Py_ssize_t], 250)
MOST_LINE = cython.declare(cython.const[cython.Py_ssize_t], 2048)
MOST_KEYS_LINE = cython.declare(cython.const[cython.Py_ssize_t], 16 * 1024 * 1024)
# Blanks in front of a line beyond MOST_LINE, as for memcached, which closes its connection at more.
MOST_LEADING_BLANKS = cython.declare(cython.const[cython.Py_ssize_t], 100)
MOST_ACCEPTED = cython.declare(cython.const[cython.Py_ssize_t], 1024 * 1024 * 1024)
MOST_DECLARED = cython.declare(cython.const[cython.Py_ssize_t], 2147483645)
# The smallest number of 32 bits, without its sign.
MOST_NEGATIVE = cython.declare(cython.const[cython.ulonglong], 2147483648)
# Digits of the largest number there is.
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

# Words that arguments may be, in the order of their rows.
KEYWORDS = ("noreply", "0", "servers", "sizes_enable", "sizes_disable")
NOREPLY = cython.declare(cython.const[cython.int], 0)
ZERO = cython.declare(cython.const[cython.int], 1)


@cython.cclass
class ClassicRequests(Codec):
    """Reads lines. ``content_end`` and ``line_end``: the positions behind a line's last argument and behind the line.

    ``token_start`` to ``token_end`` is the argument read last, ``token_clean`` whether it has no control characters.
    """

    def __init__(self, allowed: Collection[str]) -> None:
        """``allowed``: the commands that need permission and have it, by name."""
        Codec.__init__(self)
        self.names = NameTable([command.name for command in COMMANDS], any_case=False)
        self.keywords = NameTable(KEYWORDS, any_case=False)
        self.forms = array("i", [command.form for command in COMMANDS])
        self.reply_kinds = array("i", [KIND_NAMES.index(command.reply) if command.reply else 0 for command in COMMANDS])
        self.allowed = array("i", [not command.permission or command.name in allowed for command in COMMANDS])
        self.matches_keys = True
        self.token_start = 0
        self.token_end = 0
        self.token_clean = True
        self.line_end = 0
        self.content_end = 0
        self.keys_at = 0
        self.time_start = 0
        self.time_end = 0
        self.length = 0
        self.last_is_noreply = False

    # --- arguments -------------------------------------------------------------------------------------------------

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def next_token(self, buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Read the argument at ``at``, or the next behind it; returns the position behind the argument."""
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
        """Whether there was one more argument."""
        return self.token_end > self.token_start

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def is_key(self) -> cython.bint:
        """Whether the argument can be a key."""
        return self.token_clean and 0 < self.token_end - self.token_start <= MOST_KEY

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_unsigned(self, buf: cython.pointer[cython.const[cython.uchar]], bits: cython.int) -> cython.bint:
        """Whether the argument, from ``token_start`` on, is a decimal that fits so many bits."""
        return self.is_at_most(buf, ((cython.cast(cython.ulonglong, 1) << (bits - 1)) - 1) * 2 + 1)

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_at_most(self, buf: cython.pointer[cython.const[cython.uchar]], most: cython.ulonglong) -> cython.bint:
        """Whether the argument, from ``token_start`` on, is a decimal up to ``most``, which is above 9."""
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
        """Whether the argument, from ``token_start`` on, is a time: a decimal of 32 bits, perhaps negative."""
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
    def count_surplus(self, buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t) -> cython.int:
        """How many arguments are left from ``at`` on; sets ``last_is_noreply`` of the last argument of all.

        None of them is forwarded: noreply, because every request on a shared connection must have a reply, the
        others because memcached disregards them.
        """
        count: cython.int = 0
        self.cut_start = at
        self.cut_end = self.content_end
        while True:
            self.last_is_noreply = self.token_end - self.token_start == 7 and self.keyword(buf) == NOREPLY
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
        """What the argument says of a data block's length; sets ``length`` for all but the last two answers.

        memcached takes numbers as strtol(3) does: with white space, which no separator is, or a sign in front, and
        with white space or a NUL behind. It may read a block where such a length stands, so none may be overlooked.
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
    def refuse(self, problem: cython.int) -> Frame:
        """A whole request that gets an error."""
        self.problem = problem
        self.route = TO_NOBODY
        return COMPLETE

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def malformed(self, problem: cython.int) -> Frame:
        self.problem = problem
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
    ) -> Frame:
        """COMPLETE when the line at ``start`` is whole and not too long; its command is then in ``command``."""
        newline: cython.Py_ssize_t = find_newline(buf, start + self.resume_at, end)
        self.content_end = newline if newline >= 0 else end
        self.line_end = self.content_end + 1
        if newline > start and buf[newline - 1] == ord(b"\r"):
            self.content_end -= 1
        while newline >= 0 and self.content_end > start and buf[self.content_end - 1] == ord(b" "):
            self.content_end -= 1
        self.end = self.line_end
        self.next_token(buf, start)
        self.command = self.names.find(buf, self.token_start, self.token_end)
        if self.line_end - start > MOST_LINE and (
            self.line_end - start > MOST_KEYS_LINE
            or self.token_start - start > MOST_LEADING_BLANKS
            or self.command < 0
            or self.forms[self.command] != RETRIEVAL
        ):
            return self.malformed(LONG_LINE)
        self.resume_at = 0
        if newline < 0:
            self.resume_at = end - start
            self.needed = end - start + 1
            return NEED_MORE
        return COMPLETE

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def pass_over(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> Frame:
        if self.resume_at == 0:
            # The line is there: it is a data block that is not.
            self.swallow = self.needed - (end - start)
        elif self.command >= 0 and self.forms[self.command] == RETRIEVAL:
            self.swallow = REST_OF_LINE
        else:
            # Behind its end may be a data block, which must not be taken for commands; it has at most MOST_LINE bytes.
            return NEED_MORE
        self.end = end
        return COMPLETE

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_retrieval(
        self, buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, form: cython.int
    ) -> Frame:
        self.items = 0
        if form == RETRIEVAL_TOUCH:
            at = self.next_token(buf, at)
            if not self.has_token():
                return self.refuse(UNKNOWN)
            if not self.is_exptime(buf):
                return self.refuse(BAD_EXPTIME)
            self.time_start = self.token_start
            self.time_end = self.token_end
        self.keys_at = at
        while True:
            at = self.next_token(buf, at)
            if not self.has_token():
                break
            if not self.is_key():
                return self.refuse(BAD_LINE)
            self.key_start = self.token_start
            self.key_end = self.token_end
            self.items += 1
        if self.items == 0:
            return self.refuse(UNKNOWN)
        self.route = TO_KEY if self.items == 1 else TO_EACH
        self.merge = VALUES
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
    ) -> Frame:
        problem: cython.int = NO_PROBLEM
        length: Length
        surplus: cython.int
        at = self.next_token(buf, at)
        self.key_start = self.token_start
        self.key_end = self.token_end
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
            return self.refuse(UNKNOWN)
        length = self.read_length(buf)
        if form == CAS:
            at = self.next_token(buf, at)
            if not self.has_token():
                return self.read_block(buf, start, end, length, UNKNOWN)
            if not self.is_unsigned(buf, 64):
                problem = BAD_LINE
        surplus = self.count_surplus(buf, at)
        if surplus > 1:
            problem = UNKNOWN
        elif self.last_is_noreply:
            self.expected |= MUTED
        return self.read_block(buf, start, end, length, problem)

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
    ) -> Frame:
        """Take the data block behind a line that has this ``problem``, or none."""
        body: cython.Py_ssize_t
        if length == NO_LENGTH:
            return self.refuse(BAD_LINE if problem == NO_PROBLEM else problem)
        if length == ENDLESS_LENGTH:
            # Where the block ends is anybody's guess, and it must not be taken for commands.
            return self.malformed(BAD_LINE)
        if problem == NO_PROBLEM and length == ODD_LENGTH:
            problem = BAD_LINE
        if problem == NO_PROBLEM and length == LARGE_LENGTH:
            problem = TOO_LARGE
        if problem != NO_PROBLEM:
            self.swallow = self.length + 2
            return self.refuse(problem)
        body = self.line_end + self.length + 2
        if body > end:
            self.needed = body - start
            return NEED_MORE
        self.end = body
        if buf[body - 2] != ord(b"\r") or buf[body - 1] != ord(b"\n"):
            if buf[body - 1] != ord(b"\n"):
                self.swallow = REST_OF_LINE
            return self.refuse(BAD_DATA)
        self.route = TO_KEY
        return COMPLETE

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_change(
        self, buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, form: cython.int
    ) -> Frame:
        good_key: cython.bint
        good_number: cython.bint
        at = self.next_token(buf, at)
        good_key = self.is_key()
        self.key_start = self.token_start
        self.key_end = self.token_end
        at = self.next_token(buf, at)
        if not self.has_token():
            return self.refuse(UNKNOWN)
        good_number = self.is_unsigned(buf, 64) if form == ARITHMETIC else self.is_exptime(buf)
        if self.count_surplus(buf, at) > 1:
            return self.refuse(UNKNOWN)
        if self.last_is_noreply:
            self.expected |= MUTED
        if not good_key:
            return self.refuse(BAD_LINE)
        if not good_number:
            return self.refuse(BAD_DELTA if form == ARITHMETIC else BAD_EXPTIME)
        self.route = TO_KEY
        return COMPLETE

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_delete(self, buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t) -> Frame:
        good_key: cython.bint
        zero: cython.bint
        surplus: cython.int
        at = self.next_token(buf, at)
        if not self.has_token():
            return self.refuse(UNKNOWN)
        good_key = self.is_key()
        self.key_start = self.token_start
        self.key_end = self.token_end
        self.next_token(buf, at)
        zero = self.keyword(buf) == ZERO
        self.token_end = self.token_start
        surplus = self.count_surplus(buf, at)
        if surplus > 2:
            return self.refuse(UNKNOWN)
        if self.last_is_noreply:
            self.expected |= MUTED
        if surplus > 0 and not (zero if surplus == 2 else zero or self.last_is_noreply):
            return self.refuse(BAD_DELETE)
        if surplus == 2 and not self.last_is_noreply:
            return self.refuse(BAD_DELETE)
        if not good_key:
            return self.refuse(BAD_LINE)
        self.route = TO_KEY
        return COMPLETE
