"""Inline commands: a request typed as one line, as redis takes them from telnet and health checks.

The rules are those of redis.io's "Inline commands" with redis-cli's quoting: blanks separate arguments, but a
vertical tab or a form feed does not end an unquoted one; ``"..."`` knows \\n \\r \\t \\b \\a \\xHH and backslash
before any other byte; ``'...'`` knows only ``\\'``; a closing quote ends the argument and must be followed by a
blank or the end.
"""

_BLANKS = b" \t\n\v\f\r\0"
_ENDS = b" \t\n\r\0"
_ESCAPES = {ord("n"): b"\n", ord("r"): b"\r", ord("t"): b"\t", ord("b"): b"\b", ord("a"): b"\a"}
_HEX = b"0123456789abcdefABCDEF"


class UnbalancedQuotes(ValueError):
    """A quote is not closed, or is followed by something that is no blank."""


def split_inline(line: bytes) -> list[bytes]:
    """The arguments on a line, which has no line end; empty for a blank line. Raises UnbalancedQuotes."""
    arguments: list[bytes] = []
    at = 0
    while True:
        while at < len(line) and line[at] in _BLANKS:
            at += 1
        if at == len(line):
            return arguments
        argument = bytearray()
        while at < len(line) and line[at] not in _ENDS:
            if line[at] in b"\"'":
                at = _quoted(line, at, argument)
                break
            argument.append(line[at])
            at += 1
        arguments.append(bytes(argument))


def _quoted(line: bytes, at: int, argument: bytearray) -> int:
    """Append the quoted bytes that begin at ``line[at]`` to ``argument``; returns the position behind them."""
    quote = line[at]
    at += 1
    while at < len(line) and line[at] != quote:
        following = line[at + 1] if at + 1 < len(line) else None
        if line[at] != ord("\\") or following is None or (quote == ord("'") and following != quote):
            argument.append(line[at])
            at += 1
        elif quote == ord("'"):
            argument.append(quote)
            at += 2
        elif following == ord("x") and len(line) >= at + 4 and line[at + 2] in _HEX and line[at + 3] in _HEX:
            argument.append(int(line[at + 2 : at + 4], 16))
            at += 4
        else:
            argument += _ESCAPES.get(following, bytes([following]))
            at += 2
    if at == len(line) or (at + 1 < len(line) and line[at + 1] not in _BLANKS):
        raise UnbalancedQuotes
    return at + 1


def encode_request(arguments: list[bytes]) -> bytes:
    """Arguments as an array of bulk strings, the form in which requests travel."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        parts.append(b"$%d\r\n%s\r\n" % (len(argument), argument))
    return b"".join(parts)


def decode_request(request: bytes) -> list[bytes]:
    """The arguments of a complete, well-formed array of bulk strings."""
    arguments = []
    at = request.index(b"\n") + 1
    while at < len(request):
        line_end = request.index(b"\r", at)
        length = int(request[at + 1 : line_end])
        at = line_end + 2 + length + 2
        arguments.append(request[line_end + 2 : at - 2])
    return arguments
