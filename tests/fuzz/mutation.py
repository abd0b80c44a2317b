"""Makes inputs from inputs: inserts messages and tokens, changes numbers, moves pieces, and damages bytes."""

import random
import re
from collections.abc import Callable, Sequence

_NUMBER = re.compile(rb"\d+")
_NUMBERS = [b"0", b"1", b"2", b"-1", b"00", b"01", b"10", b"250", b"251", b"2048", b"65536", b"2147483647"]
_NUMBERS += [b"2147483648", b"4294967296", b"9223372036854775807", b"18446744073709551616", b"", b"x"]
_BYTES = b"\r\n \t\0\x7f\xff0-+$*:"
_REMEMBERED = 200


class Mutator:
    """``message`` and ``tokens``: as in a ``Target``."""

    def __init__(self, message: Callable[[random.Random], bytes], tokens: Sequence[bytes]) -> None:
        self._message = message
        self._tokens = tokens
        self._seen: list[bytes] = []

    def mutate(self, data: bytes, source: random.Random) -> bytes:
        """A new input that resembles this one, of any length."""
        self._remember(data, source)
        for _ in range(source.choice([1, 1, 1, 2, 3, 6])):
            data = source.choice(self._ways)(self, data, source)
        return data

    def _remember(self, data: bytes, source: random.Random) -> None:
        if len(self._seen) < _REMEMBERED:
            self._seen.append(data)
        else:
            self._seen[source.randrange(_REMEMBERED)] = data

    def _put_message(self, data: bytes, source: random.Random) -> bytes:
        """Insert a message at the end of a line, where it has a meaning."""
        places = [0, *(match.end() for match in re.finditer(rb"\n", data))]
        at = source.choice(places)
        return data[:at] + self._message(source) + data[at:]

    def _replace_all(self, data: bytes, source: random.Random) -> bytes:
        return b"".join(self._message(source) for _ in range(source.choice([1, 1, 2, 4])))

    def _put_token(self, data: bytes, source: random.Random) -> bytes:
        at = source.randrange(len(data) + 1)
        return data[:at] + source.choice(self._tokens) + data[at + source.choice([0, 0, 1, 3]) :]

    def _change_number(self, data: bytes, source: random.Random) -> bytes:
        found = list(_NUMBER.finditer(data))
        if not found:
            return self._put_token(data, source)
        number = source.choice(found)
        put = source.choice(_NUMBERS)
        if source.random() < 0.5 and len(number[0]) < 20:
            put = b"%d" % max(int(number[0]) + source.choice([-2, -1, 1, 2]), 0)
        return data[: number.start()] + put + data[number.end() :]

    def _delete(self, data: bytes, source: random.Random) -> bytes:
        at = source.randrange(len(data) + 1)
        return data[:at] + data[at + source.choice([1, 1, 2, 5, 20]) :]

    def _cut(self, data: bytes, source: random.Random) -> bytes:
        return data[: source.randrange(len(data) + 1)]

    def _repeat(self, data: bytes, source: random.Random) -> bytes:
        start = source.randrange(len(data) + 1)
        piece = data[start : start + source.choice([1, 2, 8, 32])]
        return data[:start] + piece * source.choice([2, 2, 3, 20]) + data[start + len(piece) :]

    def _damage(self, data: bytes, source: random.Random) -> bytes:
        at = source.randrange(len(data) + 1)
        byte = source.choice(_BYTES) if source.random() < 0.7 else source.randrange(256)
        return data[:at] + bytes([byte]) + data[at + source.randrange(2) :]

    def _splice(self, data: bytes, source: random.Random) -> bytes:
        other = source.choice(self._seen)
        return data[: source.randrange(len(data) + 1)] + other[source.randrange(len(other) + 1) :]

    _ways = (
        *[_put_message] * 3,
        *[_put_token] * 4,
        *[_change_number] * 3,
        *[_damage] * 3,
        *[_delete] * 2,
        *[_splice] * 2,
        _replace_all,
        _repeat,
        _cut,
    )
