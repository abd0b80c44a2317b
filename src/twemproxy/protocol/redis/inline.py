"""Encodes and decodes requests as lists of arguments, and parses inline commands: a request in one line.

Sans-IO, dual. The rules for lines are those of redis.io's "Inline commands" with redis-cli's quoting. Blanks separate
arguments, but a vertical tab or a form feed does not end an unquoted one. ``"..."`` has the escapes \\n \\r \\t \\b \\a
\\xHH, and a backslash before any other byte; ``'...'`` has only ``\\'``. A closing quote ends the argument, and a blank
or the end of the line must follow it.
"""

import cython

if not cython.compiled:
    from twemproxy.protocol.codec import put_number

# Most bytes around an argument in a request: a dollar sign, twenty digits and two line ends.
AROUND = cython.declare(cython.const[cython.Py_ssize_t], 25)

# An argument's length above this is an error, so that sums with it do not overflow.
LONGEST_ARGUMENT = cython.declare(cython.const[cython.Py_ssize_t], 1 << 48)

LONGEST_NAME = 1024
"""Bytes looked at of an argument that may be the name of a command or a sub-command; errors show fewer."""


class UnbalancedQuotes(ValueError):
    """A quote is not closed, or the byte after it is not a blank."""


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def is_blank(byte: cython.uchar) -> cython.bint:
    """Whether the byte can be between arguments."""
    return byte == ord(b" ") or 9 <= byte <= 13 or byte == 0


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def ends_word(byte: cython.uchar) -> cython.bint:
    """Whether the byte ends an unquoted argument."""
    return byte == ord(b" ") or 9 <= byte <= 10 or byte == 13 or byte == 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def digit_value(byte: cython.uchar) -> cython.int:
    """The value of a hexadecimal digit, -1 for any other byte."""
    if ord(b"0") <= byte <= ord(b"9"):
        return byte - ord(b"0")
    if ord(b"a") <= byte | 0x20 <= ord(b"f"):
        return (byte | 0x20) - ord(b"a") + 10
    return -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def unescaped(byte: cython.uchar) -> cython.uchar:
    """The meaning of a backslash and this byte between double quotes."""
    if byte == ord(b"n"):
        return 10
    if byte == ord(b"r"):
        return 13
    if byte == ord(b"t"):
        return 9
    if byte == ord(b"b"):
        return 8
    return 7 if byte == ord(b"a") else byte


@cython.cclass
class LineReader:
    """Reads the arguments of a line. ``word``: the last argument read, in the first ``length`` bytes.

    ``count``: the number of arguments that ``put_words`` has written.
    """

    def __init__(self, size: int) -> None:
        """``size``: length of the line in bytes."""
        self.word = bytearray(size + 1)
        self.length = 0
        self.count = 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_word(
        self, line: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Read the argument at ``at``; returns the position after it, -1 for unbalanced quotes."""
        self.length = 0
        while at < end and not ends_word(line[at]):
            if line[at] == ord(b'"') or line[at] == ord(b"'"):
                return self.read_quoted(line, at, end)
            self.word[self.length] = line[at]
            self.length += 1
            at += 1
        return at

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_quoted(
        self, line: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """As ``read_word``, for the quoted rest of an argument."""
        quote: cython.uchar = line[at]
        byte: cython.uchar
        at += 1
        while at < end and line[at] != quote:
            byte = line[at]
            at += 1
            if byte == ord(b"\\") and at < end and (quote == ord(b'"') or line[at] == quote):
                byte = line[at]
                if quote == ord(b'"'):
                    if byte == ord(b"x") and at + 2 < end:
                        if digit_value(line[at + 1]) >= 0 and digit_value(line[at + 2]) >= 0:
                            byte = digit_value(line[at + 1]) * 16 + digit_value(line[at + 2])
                            at += 2
                    else:
                        byte = unescaped(byte)
                at += 1
            self.word[self.length] = byte
            self.length += 1
        if at >= end or (at + 1 < end and not is_blank(line[at + 1])):
            return -1
        return at + 1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_words(
        self, out: cython.p_uchar, line: cython.pointer[cython.const[cython.uchar]], end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Write a line's arguments as bulk strings, and set ``count``; returns the length, -1 for unbalanced quotes."""
        at: cython.Py_ssize_t = 0
        used: cython.Py_ssize_t = 0
        i: cython.Py_ssize_t
        self.count = 0
        while True:
            while at < end and is_blank(line[at]):
                at += 1
            if at == end:
                return used
            at = self.read_word(line, at, end)
            if at < 0:
                return -1
            out[used] = ord(b"$")
            used = put_number(out, used + 1, self.length)
            out[used] = ord(b"\r")
            out[used + 1] = ord(b"\n")
            used += 2
            for i in range(self.length):
                out[used] = self.word[i]
                used += 1
            out[used] = ord(b"\r")
            out[used + 1] = ord(b"\n")
            used += 2
            self.count += 1


def encode_line(line: bytes) -> bytes:
    """The request in a line, which has no line end; empty for a blank line. Raises UnbalancedQuotes."""
    size: cython.Py_ssize_t = len(line)
    reader: LineReader = LineReader(size)
    out = bytearray(size + AROUND * (size // 2 + 1))
    used: cython.Py_ssize_t = reader.put_words(out, line, size)
    if used < 0:
        raise UnbalancedQuotes
    return b"*%d\r\n%b" % (reader.count, bytes(out[:used])) if reader.count > 0 else b""


def split_inline(line: bytes) -> list[bytes]:
    """The arguments in a line, which has no line end; empty for a blank line. Raises UnbalancedQuotes."""
    request = encode_line(line)
    return decode_request(request) if request else []


def encode_request(arguments: list[bytes]) -> bytes:
    """The arguments as an array of bulk strings, the form of requests to servers."""
    argument: bytes
    data: cython.pointer[cython.const[cython.uchar]]
    i: cython.Py_ssize_t
    used: cython.Py_ssize_t
    size: cython.Py_ssize_t = AROUND * (len(arguments) + 1)
    for argument in arguments:
        size += len(argument)
    out = bytearray(size)
    put: cython.p_uchar = out
    put[0] = ord(b"*")
    used = put_number(put, 1, len(arguments))
    put[used] = ord(b"\r")
    put[used + 1] = ord(b"\n")
    used += 2
    for argument in arguments:
        data = argument
        put[used] = ord(b"$")
        used = put_number(put, used + 1, len(argument))
        put[used] = ord(b"\r")
        put[used + 1] = ord(b"\n")
        used += 2
        for i in range(len(argument)):
            put[used + i] = data[i]
        used += len(argument)
        put[used] = ord(b"\r")
        put[used + 1] = ord(b"\n")
        used += 2
    return bytes(out[:used])


def count_arguments(request: bytes) -> int:
    """The number of arguments of a complete, well-formed array of bulk strings."""
    return int(request[1 : request.index(b"\r")])


def bulk_elements(reply: bytes) -> list[bytes]:
    """The elements of a complete array of bulk strings, in their encoded form. Raises ValueError for other replies."""
    parts: list[bytes] = []
    at: cython.Py_ssize_t = reply.index(b"\n") + 1
    end: cython.Py_ssize_t = len(reply)
    start: cython.Py_ssize_t
    length: cython.Py_ssize_t
    digit: cython.int
    if reply[0] != 42:
        raise ValueError("no array")
    while at < end:
        start = at
        if reply[at] != 36:
            raise ValueError("no bulk string")
        length = 0
        at += 1
        while at < end and reply[at] != 13:
            digit = reply[at] - 48
            if not 0 <= digit <= 9 or length > end:
                raise ValueError("no length of a bulk string")
            length = length * 10 + digit
            at += 1
        at += length + 4
        if at > end:
            raise ValueError("an element is cut off")
        parts.append(reply[start:at])
    return parts


def decode_request(request: bytes) -> list[bytes]:
    """The arguments of a complete, well-formed array of bulk strings."""
    return decode_some(request, 0, len(request))[0]


def decode_some(
    request: bytes, start: cython.Py_ssize_t, most: cython.Py_ssize_t, longest: cython.Py_ssize_t = 0x7FFFFFFFFFFFFFFF
) -> tuple[list[bytes], int]:
    """Up to ``most`` arguments of a well-formed array of bulk strings, from the position ``start`` on.

    Returns the arguments, none when there are no more, and the position after them. 0 is the position of the first.
    Of each argument there are at most ``longest`` bytes. The array may end after these bytes of an argument; raises
    ValueError if it ends before.
    """
    arguments: list[bytes] = []
    at: cython.Py_ssize_t = start
    end: cython.Py_ssize_t = len(request)
    length: cython.Py_ssize_t
    digit: cython.int
    if at == 0:
        at = request.index(b"\n") + 1
    while at < end and most > 0:
        length = 0
        at += 1
        while at < end and request[at] != 13:
            digit = request[at] - 48
            if not 0 <= digit <= 9 or length > LONGEST_ARGUMENT:
                raise ValueError("no length of a bulk string")
            length = length * 10 + digit
            at += 1
        at += 2
        if min(length, longest) > end - at or (length <= longest and length + 2 > end - at):
            raise ValueError("an argument is cut off")
        arguments.append(request[at : at + min(length, longest)])
        at += length + 2
        most -= 1
    return arguments, at
