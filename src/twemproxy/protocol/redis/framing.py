"""RESP2 and RESP3 framing: where requests and replies end, and which server a request asks for.

Sans-IO, dual. The wire format is redis.io's "RESP protocol description". Requests are held to what every redis
accepts, because they are forwarded byte for byte on connections that clients share: what a server would close
its connection for must not get that far.
"""

from array import array

import cython

from twemproxy.protocol.redis.commands import COMMAND_INFO, COMMANDS
from twemproxy.protocol.redis.scripts import SCRIPT_FORMS

if not cython.compiled:
    from twemproxy.protocol.codec import (
        ARGUMENTS,
        COMPLETE,
        MALFORMED,
        NEED_MORE,
        PLANNED,
        REST_OF_LINE,
        REWRITE,
        SKIP,
        STATUS,
        SUM,
        TO_ANY,
        TO_EACH,
        TO_KEY,
        TO_NOBODY,
        TO_ONLY,
        TO_SAME,
        VALUES,
        Codec,
        Frame,
    )
    from twemproxy.protocol.name_table import NameTable

# Limits of redis itself: number of arguments (INT_MAX), length of a string (proto-max-bulk-len), of an inline request
MAX_ARGUMENTS = cython.declare(cython.const[cython.Py_ssize_t], 2147483647)
MAX_BULK = cython.declare(cython.const[cython.Py_ssize_t], 512 * 1024 * 1024)
# and of a line with a number.
MAX_LINE = cython.declare(cython.const[cython.Py_ssize_t], 64 * 1024)
MOST_DIGITS = cython.declare(cython.const[cython.Py_ssize_t], 10)
# Longest status or error line of a server; redis has no limit, its longest are a few KB.
MAX_STATUS = cython.declare(cython.const[cython.Py_ssize_t], 1024 * 1024)
# Arguments below this index are looked at again when framing resumes; no command has its first key behind.
LOOKED_AT = cython.declare(cython.const[cython.Py_ssize_t], 4)

# What read_length and read_bulk return instead of a position.
INCOMPLETE = cython.declare(cython.const[cython.Py_ssize_t], -1)
BROKEN = cython.declare(cython.const[cython.Py_ssize_t], -2)
TOO_LONG = cython.declare(cython.const[cython.Py_ssize_t], -3)

# Positions in errors.PROTOCOL_ERRORS and errors.REFUSALS.
BAD_MULTIBULK = cython.declare(cython.const[cython.int], 1)
BAD_BULK = cython.declare(cython.const[cython.int], 2)
NO_BULK = cython.declare(cython.const[cython.int], 3)
NO_BULK_END = cython.declare(cython.const[cython.int], 4)
BIG_INLINE = cython.declare(cython.const[cython.int], 5)
BIG_MULTIBULK = cython.declare(cython.const[cython.int], 7)
BIG_BULK = cython.declare(cython.const[cython.int], 8)
WRONG_ARITY = cython.declare(cython.const[cython.int], 2)
NOT_AVAILABLE = cython.declare(cython.const[cython.int], 3)
NO_INTEGER = cython.declare(cython.const[cython.int], 4)
TOO_MANY_KEYS = cython.declare(cython.const[cython.int], 5)
NEGATIVE_KEYS = cython.declare(cython.const[cython.int], 6)

# commands.Routing, for C.
KEY = cython.declare(cython.const[cython.int], 0)
EACH_KEY_SUM = cython.declare(cython.const[cython.int], 1)
EACH_KEY_VALUES = cython.declare(cython.const[cython.int], 2)
EACH_PAIR_STATUS = cython.declare(cython.const[cython.int], 3)
COUNTED_KEYS = cython.declare(cython.const[cython.int], 4)
ANY_SERVER = cython.declare(cython.const[cython.int], 5)
ONLY_SERVER = cython.declare(cython.const[cython.int], 6)
LOCAL = cython.declare(cython.const[cython.int], 8)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def decimal_length(number: cython.longlong) -> cython.Py_ssize_t:
    """How many characters ``number`` has in decimal."""
    length: cython.Py_ssize_t = 1
    if number < 0:
        length += 1
        number = -number
    number = number // 10
    while number > 0:
        length += 1
        number = number // 10
    return length


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def is_resp3(kind: cython.uchar) -> cython.bint:
    """Whether a length-prefixed value of this kind exists in RESP3 beside those of RESP2."""
    return (
        kind == ord(b"%")
        or kind == ord(b"~")
        or kind == ord(b">")
        or kind == ord(b"=")
        or kind == ord(b"!")
        or kind == ord(b"|")
    )


@cython.cclass
class RespFraming(Codec):
    """``number`` is the last length or count read, -1 for a null."""

    def __init__(self) -> None:
        Codec.__init__(self)
        self.number = 0
        self.inner = 0
        self.step = 1
        self.arguments = 0
        self.names = NameTable([command.name for command in COMMANDS], any_case=True)
        for command in COMMANDS:
            if max(command.first_key, command.numkeys) >= LOOKED_AT:
                raise ValueError(f"the first key of {command.name} is out of reach")
        self.arity = array("i", [command.arity for command in COMMANDS])
        self.routing = array("i", [command.routing for command in COMMANDS])
        self.first_key = array("i", [command.first_key for command in COMMANDS])
        self.numkeys = array("i", [command.numkeys for command in COMMANDS])
        self.one_key = array("i", [command.one_key for command in COMMANDS])
        self.container = array("i", [bool(COMMAND_INFO[command.name].subcommands) for command in COMMANDS])
        self.script_form = array("i", [SCRIPT_FORMS.get(command.name, 0) for command in COMMANDS])

    # --- requests --------------------------------------------------------------------------------------------

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_length(
        self, buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Read the decimal line at ``at`` into ``number``; returns the position behind its CR LF."""
        first: cython.Py_ssize_t
        number: cython.Py_ssize_t = 0
        negative: cython.bint = at < end and buf[at] == ord(b"-")
        if negative:
            at += 1
        first = at
        while at < end and ord(b"0") <= buf[at] <= ord(b"9"):
            number = number * 10 + (buf[at] - ord(b"0"))
            at += 1
            if at - first > MOST_DIGITS:
                return self.bad_line(buf, first, end)
        if at >= end:
            return INCOMPLETE
        if buf[at] != ord(b"\r") or at == first or (buf[first] == ord(b"0") and (negative or at - first > 1)):
            return self.bad_line(buf, first, end)
        if at + 1 >= end:
            return INCOMPLETE
        if buf[at + 1] != ord(b"\n"):
            return BROKEN
        self.number = -number if negative else number
        return at + 2

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def bad_line(
        self, buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """The verdict on a line at ``at`` that is no number: as in redis it falls with the line's end."""
        first: cython.Py_ssize_t = at
        while at < end and buf[at] != ord(b"\r"):
            at += 1
        if at - first > MAX_LINE:
            return TOO_LONG
        return BROKEN if at < end else INCOMPLETE

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_bulk(
        self, buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Read the bulk string at ``at``: its bytes are the ``number`` ones before the CR LF it ends with.

        Returns the position behind. After INCOMPLETE ``needed`` is the position the bytes must reach; after
        BROKEN ``problem`` is set.
        """
        body: cython.Py_ssize_t
        if at >= end:
            self.needed = end + 1
            return INCOMPLETE
        if buf[at] != ord(b"$"):
            self.problem = NO_BULK
            self.found = buf[at]
            return BROKEN
        body = self.read_length(buf, at + 1, end)
        if body == INCOMPLETE:
            self.needed = end + 1
            return INCOMPLETE
        if body < 0 or self.number < 0 or self.number > MAX_BULK:
            self.problem = BIG_BULK if body == TOO_LONG else BAD_BULK
            return BROKEN
        at = body + self.number
        if at + 2 > end:
            self.needed = at + 2
            return INCOMPLETE
        if buf[at] != ord(b"\r") or buf[at + 1] != ord(b"\n"):
            self.problem = NO_BULK_END
            return BROKEN
        return at + 2

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def more(self, start: cython.Py_ssize_t, at: cython.Py_ssize_t, left: cython.Py_ssize_t) -> Frame:
        """NEED_MORE: the next look begins with the bytes at ``at``, with ``left`` arguments or values to go."""
        self.resume_at = at - start
        self.resume_left = left
        self.needed = self.needed - start
        return NEED_MORE

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
    def refuse(self, problem: cython.int) -> Frame:
        """A whole request that gets an error."""
        self.problem = problem
        self.route = TO_NOBODY
        return COMPLETE

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def frame_request(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> Frame:
        at: cython.Py_ssize_t
        after: cython.Py_ssize_t
        left: cython.Py_ssize_t
        index: cython.Py_ssize_t = 0
        key: cython.Py_ssize_t = 0
        count: cython.Py_ssize_t = 0
        n_keys: cython.Py_ssize_t = -1
        self.expected = 0
        self.repairable = False
        if buf[start] != ord(b"*"):
            return self.frame_inline(buf, start, end)
        at = self.read_length(buf, start + 1, end)
        if at == INCOMPLETE:
            self.needed = end + 1
            return self.more(start, start, 0)
        if at < 0 or self.number > MAX_ARGUMENTS:
            return self.malformed(BIG_MULTIBULK if at == TOO_LONG else BAD_MULTIBULK)
        if self.number <= 0:
            self.end = at
            return SKIP
        left = self.arguments = self.number
        while left > 0:
            if index == LOOKED_AT and self.resume_at > 0:
                at = start + self.resume_at
                left = self.resume_left
                self.resume_at = 0
            after = self.read_bulk(buf, at, end)
            if after == INCOMPLETE:
                if index < LOOKED_AT:
                    return self.more(start, start, 0)
                return self.more(start, at, left)
            if after == BROKEN:
                return MALFORMED
            if index == 0:
                self.command = self.names.find(buf, after - 2 - self.number, after - 2)
                if self.command >= 0:
                    key = self.first_key[self.command]
                    count = self.numkeys[self.command]
            elif index == key:
                self.key_start = after - 2 - self.number
                self.key_end = after - 2
            if index == count and count > 0:
                n_keys = self.number
                self.item_start = after - 2 - self.number
                self.item_end = after - 2
            at = after
            index += 1
            left -= 1
        self.end = at
        self.resume_at = 0
        if self.command < 0:
            self.route = PLANNED
            return COMPLETE
        if count > 0 and n_keys >= 0 and self.arguments >= -self.arity[self.command]:
            # Digits only, few enough for any number of arguments: what is longer or other is no count of keys.
            self.items = self.read_integer(buf, self.item_start, self.item_end) if n_keys <= 10 else -1
            after = decimal_length(self.items)
            if after != n_keys or not ord(b"0") <= buf[self.item_end - 1] <= ord(b"9"):
                return self.refuse(NO_INTEGER)
            if self.items < 0:
                return self.refuse(NEGATIVE_KEYS)
        return self.route_request()

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def route_request(self) -> Frame:
        """COMPLETE, with the route of the command just read."""
        arity: cython.int = self.arity[self.command]
        routing: cython.int = self.routing[self.command]
        n: cython.Py_ssize_t = self.arguments
        if (arity > 0 and n != arity) or n < -arity or (routing == EACH_PAIR_STATUS and n % 2 == 0):
            if routing == KEY and n > 1 and self.container[self.command]:
                # A sub-command without a key, or with too few arguments.
                self.route = PLANNED
                return COMPLETE
            return self.refuse(WRONG_ARITY)
        if routing == KEY:
            self.route = TO_KEY if n <= self.one_key[self.command] else TO_SAME
        elif routing == EACH_KEY_VALUES or routing == EACH_KEY_SUM or routing == EACH_PAIR_STATUS:
            self.step = 2 if routing == EACH_PAIR_STATUS else 1
            self.items = (n - 1) // self.step
            self.route = TO_EACH if self.items > 1 else TO_KEY
            if routing == EACH_KEY_VALUES:
                self.merge = VALUES
            elif routing == EACH_KEY_SUM:
                self.merge = SUM
            else:
                self.merge = STATUS
        elif routing == COUNTED_KEYS:
            if self.items > n - self.numkeys[self.command] - 1:
                return self.refuse(TOO_MANY_KEYS)
            self.route = TO_ONLY
            if self.items > 0:
                self.route = TO_KEY if self.items == 1 and n <= self.one_key[self.command] else TO_SAME
            self.repairable = self.script_form[self.command] > 0
            self.notable = self.script_form[self.command] > 1
        elif routing >= LOCAL:
            self.route = PLANNED
        elif routing == ANY_SERVER:
            self.route = TO_ANY
        elif routing == ONLY_SERVER:
            self.route = TO_ONLY
        else:
            return self.refuse(NOT_AVAILABLE)
        return COMPLETE

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def frame_inline(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> Frame:
        """A request typed as a line: SKIP when it is blank, else REWRITE."""
        at: cython.Py_ssize_t = start + self.resume_at
        blank: cython.bint = True
        i: cython.Py_ssize_t
        while at < end and buf[at] != ord(b"\n"):
            at += 1
        if at - start > MAX_LINE:
            return self.malformed(BIG_INLINE)
        if at == end:
            self.needed = end + 1
            return self.more(start, at, 0)
        self.resume_at = 0
        self.end = at + 1
        for i in range(start, at):
            if buf[i] != ord(b" ") and not 9 <= buf[i] <= 13:
                blank = False
                break
        if blank:
            return SKIP
        return REWRITE

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def pass_over(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> Frame:
        at: cython.Py_ssize_t
        after: cython.Py_ssize_t = 0
        left: cython.Py_ssize_t
        self.swallow_arguments = 0
        if buf[start] != ord(b"*"):
            self.end = end
            self.swallow = REST_OF_LINE
            return COMPLETE
        at = self.read_length(buf, start + 1, end)
        if at < 0:
            return NEED_MORE
        left = self.number
        while left > 0:
            after = self.read_bulk(buf, at, end)
            if after < 0:
                break
            at = after
            left -= 1
        self.end = at
        self.swallow = ARGUMENTS
        self.swallow_arguments = left
        if at < end and self.read_length(buf, at + 1, end) >= 0:
            # The argument has begun.
            self.end = end
            self.swallow = self.needed - end
            self.swallow_arguments = left - 1
        return COMPLETE

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def pass_argument(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> Frame:
        at: cython.Py_ssize_t
        if buf[start] != ord(b"$"):
            self.found = buf[start]
            return self.malformed(NO_BULK)
        at = self.read_length(buf, start + 1, end)
        if at == INCOMPLETE:
            self.needed = end - start + 1
            return NEED_MORE
        if at < 0 or self.number < 0 or self.number > MAX_BULK:
            return self.malformed(BIG_BULK if at == TOO_LONG else BAD_BULK)
        self.end = at
        self.swallow = self.number + 2
        return COMPLETE

    # --- replies ---------------------------------------------------------------------------------------------

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_value(
        self, buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Read the value at ``at``; returns the position behind it, for an aggregate behind its first line.

        ``inner`` becomes how many more values belong to it. After INCOMPLETE ``needed`` is the position the bytes
        must reach; after BROKEN ``problem`` is set.
        """
        kind: cython.uchar
        after: cython.Py_ssize_t
        self.inner = 0
        if at >= end:
            self.needed = end + 1
            return INCOMPLETE
        kind = buf[at]
        if (
            kind == ord(b"+")
            or kind == ord(b"-")
            or kind == ord(b":")
            or kind == ord(b"_")
            or kind == ord(b"#")
            or kind == ord(b",")
            or kind == ord(b"(")
        ):
            return self.read_status(buf, at, end)
        if kind != ord(b"$") and kind != ord(b"*") and not is_resp3(kind):
            self.problem = NO_BULK
            return BROKEN
        after = self.read_length(buf, at + 1, end)
        if after == INCOMPLETE:
            self.needed = end + 1
            return INCOMPLETE
        if after < 0 or self.number < -1 or (self.number == -1 and kind != ord(b"$") and kind != ord(b"*")):
            self.problem = BAD_BULK
            return BROKEN
        if self.number == -1:
            return after
        if kind == ord(b"$") or kind == ord(b"=") or kind == ord(b"!"):
            after += self.number
            if after + 2 > end:
                self.needed = after + 2
                return INCOMPLETE
            if buf[after] != ord(b"\r") or buf[after + 1] != ord(b"\n"):
                self.problem = NO_BULK_END
                return BROKEN
            return after + 2
        if kind == ord(b"%"):
            self.inner = 2 * self.number
        elif kind == ord(b"|"):
            # An attribute stands before the value it belongs to and does not count as one.
            self.inner = 2 * self.number + 1
        else:
            self.inner = self.number
        return after

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_status(
        self, buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Read the line at ``at``; works as ``read_value``."""
        first: cython.Py_ssize_t = at
        while at < end and buf[at] != ord(b"\r"):
            at += 1
        if at - first > MAX_STATUS or (at + 1 < end and buf[at + 1] != ord(b"\n")):
            self.problem = NO_BULK_END
            return BROKEN
        if at + 1 >= end:
            self.needed = end + 1
            return INCOMPLETE
        return at + 2

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def frame_reply(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> Frame:
        at: cython.Py_ssize_t = start
        after: cython.Py_ssize_t
        left: cython.Py_ssize_t = 1
        if self.resume_at > 0:
            at = start + self.resume_at
            left = self.resume_left
            self.resume_at = 0
        while left > 0:
            after = self.read_value(buf, at, end)
            if after == INCOMPLETE:
                return self.more(start, at, left)
            if after < 0:
                return MALFORMED
            left += self.inner - 1
            at = after
        self.end = at
        return COMPLETE
