"""RESP2 and RESP3 framing: the ends of requests and replies, and the routes of requests.

Sans-IO, dual. The wire format is redis.io's "RESP protocol description". Requests must be valid for every redis,
because they are forwarded byte for byte on connections that clients share: a request for which a server would close its
connection must not be forwarded.
"""

from array import array

import cython

from twemproxy.protocol.command_classes import CommandClass
from twemproxy.protocol.redis.commands import COMMAND_INFO, COMMANDS, SHAPES_REPLIES, class_of, routing_table
from twemproxy.protocol.redis.keys import MOST_LOOKED_UP, places_of_keys
from twemproxy.protocol.redis.scripts import SCRIPT_FORMS
from twemproxy.protocol.redis.session import SCRIPTS_PROFILE

if not cython.compiled:
    from twemproxy.protocol.codec import Codec
    from twemproxy.protocol.foreign import begins_as_http, count_words, names_http_version, word_end, word_start
    from twemproxy.protocol.name_table import NameTable
    from twemproxy.protocol.request import (
        ARGUMENTS,
        COLOCATED,
        COMPLETE,
        EMPTY,
        FOREIGN,
        INLINE,
        MALFORMED,
        NEED_MORE,
        REJECT,
        REST_OF_LINE,
        SCATTER,
        SINGLE_SERVER,
        SLOW_PATH,
        STATUS,
        SUM,
        TO_ANY,
        TO_CHANNEL,
        TO_KEY,
        VALUES,
        Cursor,
        Frame,
        Item,
        Request,
    )

# Limits of redis itself: number of arguments (INT_MAX), length of a string (proto-max-bulk-len), and both for clients
# that have not authenticated.
MAX_ARGUMENTS = cython.declare(cython.const[cython.Py_ssize_t], 2147483647)
MAX_BULK = cython.declare(cython.const[cython.Py_ssize_t], 512 * 1024 * 1024)
CONFINED_ARGUMENTS = cython.declare(cython.const[cython.Py_ssize_t], 10)
CONFINED_BULK = cython.declare(cython.const[cython.Py_ssize_t], 16 * 1024)
# Most bytes of an inline request and of a line with a number; most digits of a number.
MAX_LINE = cython.declare(cython.const[cython.Py_ssize_t], 64 * 1024)
MOST_DIGITS = cython.declare(cython.const[cython.Py_ssize_t], 10)
# Most bytes of a string in a reply: it may be longer than clients' strings, as a DUMP of a large list is.
MAX_REPLY_BULK = cython.declare(cython.const[cython.Py_ssize_t], 4 * 1024 * 1024 * 1024)
# Most bytes of a request that the proxy has to look into as a whole: copying it is some milliseconds' work.
MOST_PLANNED = cython.declare(cython.const[cython.Py_ssize_t], 4 * 1024 * 1024)
# Longest status or error line of a server; redis has no limit, its longest are a few KB.
MAX_STATUS = cython.declare(cython.const[cython.Py_ssize_t], 1024 * 1024)
# Arguments below this index are read again when framing continues; no command has its first key after them.
LOOKED_AT = cython.declare(cython.const[cython.Py_ssize_t], 4)

# Arguments of a request in which keys are searched, see ``keys.MOST_LOOKED_UP``.
MOST_ARGUMENTS = cython.declare(cython.Py_ssize_t, MOST_LOOKED_UP)

# Returned by read_length and read_bulk instead of a position.
INCOMPLETE = cython.declare(cython.const[cython.Py_ssize_t], -1)
BROKEN = cython.declare(cython.const[cython.Py_ssize_t], -2)
TOO_LONG = cython.declare(cython.const[cython.Py_ssize_t], -3)

# Positions in errors.PROTOCOL_ERRORS and errors.REFUSALS.
BAD_MULTIBULK = cython.declare(cython.const[cython.int], 1)
BAD_BULK = cython.declare(cython.const[cython.int], 2)
NO_BULK = cython.declare(cython.const[cython.int], 3)
NO_BULK_END = cython.declare(cython.const[cython.int], 4)
BIG_INLINE = cython.declare(cython.const[cython.int], 5)
BIG_MULTIBULK = cython.declare(cython.const[cython.int], 6)
BIG_BULK = cython.declare(cython.const[cython.int], 7)
UNAUTHENTICATED_MULTIBULK = cython.declare(cython.const[cython.int], 8)
UNAUTHENTICATED_BULK = cython.declare(cython.const[cython.int], 9)
WRONG_ARITY = cython.declare(cython.const[cython.int], 2)
NOT_AVAILABLE = cython.declare(cython.const[cython.int], 3)
NO_INTEGER = cython.declare(cython.const[cython.int], 4)
TOO_MANY_KEYS = cython.declare(cython.const[cython.int], 5)
NEGATIVE_KEYS = cython.declare(cython.const[cython.int], 6)
TOO_LARGE_HERE = cython.declare(cython.const[cython.int], 7)

# commands.Routing, for C.
KEY = cython.declare(cython.const[cython.int], 0)
EACH_KEY_SUM = cython.declare(cython.const[cython.int], 1)
EACH_KEY_VALUES = cython.declare(cython.const[cython.int], 2)
EACH_PAIR_STATUS = cython.declare(cython.const[cython.int], 3)
COUNTED_KEYS = cython.declare(cython.const[cython.int], 4)
ANY_SERVER = cython.declare(cython.const[cython.int], 5)
ONLY_SERVER = cython.declare(cython.const[cython.int], 6)
LOCAL = cython.declare(cython.const[cython.int], 8)
CHANNEL = cython.declare(cython.const[cython.int], 15)


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
    """Whether this type byte is that of a length-prefixed value that only RESP3 has."""
    return (
        kind == ord(b"%")
        or kind == ord(b"~")
        or kind == ord(b">")
        or kind == ord(b"=")
        or kind == ord(b"!")
        or kind == ord(b"|")
    )


# The table of commands, column by column, for compiled code. All codecs of a process share it, so it never changes.
for command in COMMANDS:
    if max(command.first_key, command.numkeys) >= LOOKED_AT:
        raise ValueError(f"the first key of {command.name} is out of reach")
NAMES = NameTable([command.name for command in COMMANDS], any_case=True)
ROUTING = routing_table()
# Of an unknown command, then of each row.
CLASSES = array("i", [CommandClass.OTHER, *map(class_of, COMMANDS)])
ARITY = array("i", [command.arity for command in COMMANDS])
FIRST_KEY = array("i", [command.first_key for command in COMMANDS])
NUMKEYS = array("i", [command.numkeys for command in COMMANDS])
BEHIND_KEYS = array("i", [command.behind_keys for command in COMMANDS])
ONE_KEY = array("i", [command.one_key for command in COMMANDS])
CONTAINER = array("i", [bool(COMMAND_INFO[command.name].subcommands) for command in COMMANDS])
SCRIPT_FORM = array("i", [SCRIPT_FORMS.get(command.name, 0) for command in COMMANDS])
NEEDS = array("i", [SCRIPTS_PROFILE * (command.name in SHAPES_REPLIES) for command in COMMANDS])
PLACES = [places_of_keys(command, COMMAND_INFO[command.name]) for command in COMMANDS]
KEYS_FIRST = array("i", [place.first for place in PLACES])
KEYS_LAST = array("i", [place.last for place in PLACES])
KEYS_STEP = array("i", [place.step for place in PLACES])
COUNTED_FIRST = array("i", [place.counted for place in PLACES])


@cython.cclass
class RespFraming(Codec):
    """``number``: the last length or count read, -1 for a null. ``inner``: see ``read_value``.

    ``needed``: after INCOMPLETE, the position that the bytes must reach. ``problem``, ``found``: after BROKEN, as in
    ``Request``. All are valid until the next part of a message is read.
    """

    def __init__(self) -> None:
        Codec.__init__(self)
        self.number = 0
        self.inner = 0
        self.needed = 0
        self.problem = 0
        self.found = 0
        self.names = NAMES
        self.arity = ARITY
        self.routing = ROUTING
        self.classes = CLASSES
        self.first_key = FIRST_KEY
        self.numkeys = NUMKEYS
        self.behind_keys = BEHIND_KEYS
        self.one_key = ONE_KEY
        self.container = CONTAINER
        self.script_form = SCRIPT_FORM
        self.needs = NEEDS
        self.keys_first = KEYS_FIRST
        self.keys_last = KEYS_LAST
        self.keys_step = KEYS_STEP
        self.counted_first = COUNTED_FIRST

    # --- requests --------------------------------------------------------------------------------------------

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def bad_count(self) -> cython.int:
        """The problem with ``number`` as a number of arguments."""
        return UNAUTHENTICATED_MULTIBULK if 0 <= self.number <= MAX_ARGUMENTS else BAD_MULTIBULK

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def bad_length(self) -> cython.int:
        """The problem with ``number`` as the length of an argument."""
        return UNAUTHENTICATED_BULK if 0 <= self.number <= MAX_BULK else BAD_BULK

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_length(
        self, buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Read the decimal line at ``at`` into ``number``; returns the position after its CR LF.

        Nearly all lines are numbers with one or two digits.
        """
        digit: cython.int
        second: cython.int
        if at + 4 <= end and ord(b"0") <= buf[at] <= ord(b"9"):
            digit = buf[at] - ord(b"0")
            if buf[at + 1] == ord(b"\r") and buf[at + 2] == ord(b"\n"):
                self.number = digit
                return at + 3
            second = buf[at + 1] - ord(b"0")
            if digit > 0 and 0 <= second <= 9 and buf[at + 2] == ord(b"\r") and buf[at + 3] == ord(b"\n"):
                self.number = 10 * digit + second
                return at + 4
        return self.read_any_length(buf, at, end)

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_any_length(
        self, buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """As ``read_length``."""
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
        """The result for a line at ``at`` that is not a number; as in redis, BROKEN comes with the line's end."""
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
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        at: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        most: cython.Py_ssize_t,
    ) -> cython.Py_ssize_t:
        """Read the bulk string at ``at``, of up to ``most`` bytes: its ``number`` bytes are before the final CR LF.

        Returns the position after it, INCOMPLETE or BROKEN.
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
        if body < 0:
            self.problem = BIG_BULK if body == TOO_LONG else BAD_BULK
            return BROKEN
        if self.number < 0 or self.number > most:
            self.problem = self.bad_length()
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
    def more(self, cursor: Cursor, start: cython.Py_ssize_t, at: cython.Py_ssize_t, left: cython.Py_ssize_t) -> Frame:
        """NEED_MORE: framing continues with the bytes at ``at``, with ``left`` arguments or values to read."""
        cursor.at = at - start
        cursor.left = left
        cursor.needed = self.needed - start
        return NEED_MORE

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def malformed(self, request: Request, problem: cython.int) -> Frame:
        request.problem = problem
        request.found = self.found
        return MALFORMED

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def refuse(self, request: Request, problem: cython.int) -> Frame:
        """The result for a complete request that gets an error."""
        request.problem = problem
        request.route = REJECT
        return COMPLETE

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def frame_request(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        confined: cython.bint,
        flags: cython.uchar,
        cursor: Cursor,
        request: Request,
    ) -> Frame:
        at: cython.Py_ssize_t
        after: cython.Py_ssize_t
        left: cython.Py_ssize_t
        index: cython.Py_ssize_t = 0
        key: cython.Py_ssize_t = 0
        count: cython.Py_ssize_t = 0
        count_start: cython.Py_ssize_t = 0
        n_keys: cython.Py_ssize_t = -1
        most_bulk: cython.Py_ssize_t = CONFINED_BULK if confined else MAX_BULK
        request.expected = flags
        request.retryable = False
        request.profile_needed = 0
        request.discard = 0
        if buf[start] != ord(b"*"):
            return self.frame_inline(buf, start, end, cursor, request)
        at = self.read_length(buf, start + 1, end)
        if at == INCOMPLETE:
            self.needed = end + 1
            return self.more(cursor, start, start, 0)
        if at < 0:
            return self.malformed(request, BIG_MULTIBULK if at == TOO_LONG else BAD_MULTIBULK)
        if self.number > (CONFINED_ARGUMENTS if confined else MAX_ARGUMENTS):
            return self.malformed(request, self.bad_count())
        if self.number <= 0:
            cursor.at = 0
            cursor.length = at - start
            return EMPTY
        left = request.arguments = self.number
        while left > 0:
            if index == LOOKED_AT and cursor.at > 0:
                at = start + cursor.at
                left = cursor.left
                cursor.at = 0
            after = self.read_bulk(buf, at, end, most_bulk)
            if after == INCOMPLETE:
                if index < LOOKED_AT:
                    return self.more(cursor, start, start, 0)
                return self.more(cursor, start, at, left)
            if after == BROKEN:
                return self.malformed(request, self.problem)
            if index == 0:
                request.command = self.names.find(buf, after - 2 - self.number, after - 2)
                request.items_start = after - start
                if request.command >= 0:
                    key = self.first_key[request.command]
                    count = self.numkeys[request.command]
            elif index == key:
                request.key_start = after - 2 - self.number - start
                request.key_end = after - 2 - start
            if index == count and count > 0:
                n_keys = self.number
                count_start = after - 2 - n_keys
            at = after
            index += 1
            left -= 1
        cursor.length = at - start
        cursor.at = 0
        request.items_end = at - start
        request.command_class = cython.cast(cython.uchar, self.classes[request.command + 1])
        if request.command < 0:
            request.route = SLOW_PATH
            return COMPLETE
        if count > 0 and n_keys >= 0 and request.arguments >= -self.arity[request.command]:
            # The shortest form of a decimal number with up to 10 digits; other arguments are not a number of keys.
            request.items = self.read_integer(buf, count_start, count_start + n_keys) if n_keys <= 10 else -1
            after = decimal_length(request.items)
            if after != n_keys or not ord(b"0") <= buf[count_start + n_keys - 1] <= ord(b"9"):
                return self.refuse(request, NO_INTEGER)
            if request.items < 0:
                return self.refuse(request, NEGATIVE_KEYS)
        if at - start > MOST_PLANNED and self.routing[request.command] == LOCAL:
            return self.refuse(request, TOO_LARGE_HERE)
        return self.route_request(request)

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def route_request(self, request: Request) -> Frame:
        """COMPLETE, with the route of the command just read."""
        command: cython.int = request.command
        arity: cython.int = self.arity[command]
        routing: cython.int = self.routing[command]
        n: cython.Py_ssize_t = request.arguments
        if (arity > 0 and n != arity) or n < -arity or (routing == EACH_PAIR_STATUS and n % 2 == 0):
            if routing == KEY and n > 1 and self.container[command]:
                # A sub-command without a key, or with too few arguments.
                request.route = SLOW_PATH
                return COMPLETE
            return self.refuse(request, WRONG_ARITY)
        if routing == KEY:
            request.route = TO_KEY if n <= self.one_key[command] else COLOCATED
        elif routing == EACH_KEY_VALUES or routing == EACH_KEY_SUM or routing == EACH_PAIR_STATUS:
            request.items = (n - 1) // (2 if routing == EACH_PAIR_STATUS else 1)
            request.route = SCATTER if request.items > 1 else TO_KEY
            if routing == EACH_KEY_VALUES:
                request.merge = VALUES
            elif routing == EACH_KEY_SUM:
                request.merge = SUM
            else:
                request.merge = STATUS
        elif routing == COUNTED_KEYS:
            if request.items > n - self.numkeys[command] - 1 - self.behind_keys[command]:
                return self.refuse(request, TOO_MANY_KEYS)
            request.route = SINGLE_SERVER
            if request.items > 0:
                request.route = TO_KEY if request.items == 1 and n <= self.one_key[command] else COLOCATED
            request.profile_needed = self.needs[command]
            request.retryable = self.script_form[command] > 0
            request.remembers_script = self.script_form[command] > 1
        elif routing == CHANNEL:
            request.route = TO_CHANNEL
        elif routing >= LOCAL:
            request.route = SLOW_PATH
        elif routing == ANY_SERVER:
            request.route = TO_ANY
        elif routing == ONLY_SERVER:
            request.route = SINGLE_SERVER
        else:
            return self.refuse(request, NOT_AVAILABLE)
        return COMPLETE

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def begin_keys(self, request: Request, item: Item) -> cython.bint:
        item.index = 1
        item.end = request.items_start
        return (
            self.keys_first[request.command] + self.counted_first[request.command] > 0
            and request.arguments <= MOST_ARGUMENTS
        )

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def next_key(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, request: Request, item: Item
    ) -> cython.bint:
        first: cython.Py_ssize_t = self.keys_first[request.command]
        last: cython.Py_ssize_t = self.keys_last[request.command]
        counted: cython.Py_ssize_t = self.counted_first[request.command]
        index: cython.Py_ssize_t
        at: cython.Py_ssize_t
        if last < 0:
            last += request.arguments
        while item.end < request.items_end:
            at = self.read_bulk(buf, start + item.end, start + request.items_end, MAX_BULK)
            if at < 0:
                break
            item.end = at - start
            index = item.index
            item.index += 1
            if (first > 0 and first <= index <= last and (index - first) % self.keys_step[request.command] == 0) or (
                counted > 0 and counted <= index < counted + request.items
            ):
                item.key_start = at - 2 - self.number - start
                item.key_end = at - 2 - start
                return True
        return False

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def frame_inline(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        cursor: Cursor,
        request: Request,
    ) -> Frame:
        """Frame a request in one line: EMPTY if it is blank, FOREIGN for HTTP, otherwise INLINE."""
        at: cython.Py_ssize_t = start + cursor.at
        blank: cython.bint = True
        i: cython.Py_ssize_t
        while at < end and buf[at] != ord(b"\n"):
            at += 1
        if at - start > MAX_LINE:
            return self.malformed(request, BIG_INLINE)
        if at == end:
            self.needed = end + 1
            return self.more(cursor, start, at, 0)
        cursor.at = 0
        cursor.length = at + 1 - start
        for i in range(start, at):
            if buf[i] != ord(b" ") and not 9 <= buf[i] <= 13:
                blank = False
                break
        if blank:
            return EMPTY
        return FOREIGN if self.is_http(buf, start, at) else INLINE

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_http(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        """Whether a line is HTTP, and not a command whose last argument looks like HTTP."""
        arity: cython.int
        words: cython.Py_ssize_t
        command: cython.int
        if begins_as_http(buf, start, end):
            return True
        if not names_http_version(buf, start, end):
            return False
        start = word_start(buf, start, end)
        command = self.names.find(buf, start, word_end(buf, start, end))
        if command < 0:
            return True
        arity = self.arity[command]
        words = count_words(buf, start, end)
        return (arity > 0 and words != arity) or words < -arity

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
        at: cython.Py_ssize_t
        after: cython.Py_ssize_t = 0
        left: cython.Py_ssize_t
        request.discard_arguments = 0
        if buf[start] != ord(b"*"):
            cursor.at = 0
            cursor.length = end - start
            request.discard = REST_OF_LINE
            return COMPLETE
        at = self.read_length(buf, start + 1, end)
        if at < 0:
            return NEED_MORE
        left = self.number
        while left > 0:
            after = self.read_bulk(buf, at, end, MAX_BULK)
            if after < 0:
                break
            at = after
            left -= 1
        cursor.at = 0
        cursor.length = at - start
        request.discard = ARGUMENTS
        request.discard_arguments = left
        if at < end and self.read_length(buf, at + 1, end) >= 0:
            # The length of the argument is known.
            cursor.length = end - start
            request.discard = self.needed - end
            request.discard_arguments = left - 1
        return COMPLETE

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def skip_argument(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        cursor: Cursor,
        request: Request,
    ) -> Frame:
        at: cython.Py_ssize_t
        if buf[start] != ord(b"$"):
            self.found = buf[start]
            return self.malformed(request, NO_BULK)
        at = self.read_length(buf, start + 1, end)
        if at == INCOMPLETE:
            cursor.needed = end - start + 1
            return NEED_MORE
        if at < 0 or self.number < 0 or self.number > MAX_BULK:
            return self.malformed(request, BIG_BULK if at == TOO_LONG else BAD_BULK)
        cursor.length = at - start
        request.discard = self.number + 2
        return COMPLETE

    # --- replies ---------------------------------------------------------------------------------------------

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_value(
        self, buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Read the value at ``at``; returns the position after it, for an aggregate after its first line.

        ``inner``: set to the number of values that belong to it. INCOMPLETE and BROKEN as in ``read_bulk``.
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
            if self.number > MAX_REPLY_BULK:
                self.problem = BIG_BULK
                return BROKEN
            after += self.number
            if after + 2 > end:
                self.needed = after + 2
                return INCOMPLETE
            if buf[after] != ord(b"\r") or buf[after + 1] != ord(b"\n"):
                self.problem = NO_BULK_END
                return BROKEN
            return after + 2
        if self.number > MAX_ARGUMENTS:
            self.problem = BIG_MULTIBULK
            return BROKEN
        if kind == ord(b"%"):
            self.inner = 2 * self.number
        elif kind == ord(b"|"):
            # An attribute precedes the value that it belongs to, and does not count as a value.
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
        expected: cython.uchar,
        cursor: Cursor,
    ) -> Frame:
        at: cython.Py_ssize_t = start
        after: cython.Py_ssize_t
        left: cython.Py_ssize_t = 1
        if cursor.at > 0:
            at = start + cursor.at
            left = cursor.left
            cursor.at = 0
        while left > 0:
            after = self.read_value(buf, at, end)
            if after == INCOMPLETE:
                return self.more(cursor, start, at, left)
            if after < 0:
                return MALFORMED
            left += self.inner - 1
            at = after
        cursor.length = at - start
        return COMPLETE
