"""Text of many numbers, for the pages of the statistics port.

Compiled-only. The text is made in two passes: the first one finds its size and checks everything, the second one
writes it.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython.cimports.libc.string import memcpy

MICROSECONDS = cython.declare(cython.ulonglong, 1_000_000)
DECIMALS = cython.declare(cython.Py_ssize_t, 6)


_COUNT = cython.declare(bytes, b'{"count":')
_TOTAL = cython.declare(bytes, b',"total_us":')
_BUCKETS = cython.declare(bytes, b',"buckets":{')


class Seconds(int):
    """In a template: the place of a number of microseconds that is written in seconds."""


@cython.cfunc
@cython.exceptval(check=False)
def digits(number: cython.ulonglong) -> cython.Py_ssize_t:
    """How many digits a number has."""
    size: cython.Py_ssize_t = 1
    while number >= 10:
        number //= 10
        size += 1
    return size


@cython.cfunc
@cython.exceptval(check=False)
def put_digits(
    text: cython.p_char, at: cython.Py_ssize_t, size: cython.Py_ssize_t, number: cython.ulonglong
) -> cython.Py_ssize_t:
    """Write the last ``size`` digits of a number, with leading zeros; returns the place behind them."""
    place: cython.Py_ssize_t = at + size
    while place > at:
        place -= 1
        text[place] = cython.cast(cython.char, ord("0") + number % 10)
        number //= 10
    return at + size


@cython.cfunc
@cython.exceptval(check=False)
def decimals(microseconds: cython.ulonglong) -> cython.Py_ssize_t:
    """How many digits are written behind the point of a number of seconds: at least one, and no zeros at the end."""
    size: cython.Py_ssize_t = DECIMALS
    microseconds %= MICROSECONDS
    while size > 1 and microseconds % 10 == 0:
        microseconds //= 10
        size -= 1
    return size


@cython.cfunc
@cython.exceptval(check=False)
def put_seconds(text: cython.p_char, at: cython.Py_ssize_t, microseconds: cython.ulonglong) -> cython.Py_ssize_t:
    """Write a number of microseconds in seconds; returns the place behind it."""
    whole: cython.ulonglong = microseconds // MICROSECONDS
    rest: cython.ulonglong = microseconds % MICROSECONDS
    size: cython.Py_ssize_t = decimals(microseconds)
    dropped: cython.Py_ssize_t = DECIMALS - size
    while dropped > 0:
        rest //= 10
        dropped -= 1
    at = put_digits(text, at, digits(whole), whole)
    text[at] = ord(".")
    return put_digits(text, at + 1, size, rest)


@cython.cfunc
@cython.exceptval(check=False)
def put(text: cython.p_char, at: cython.Py_ssize_t, part: bytes) -> cython.Py_ssize_t:
    """Write ``part``, which is not None; returns the place behind it."""
    size: cython.Py_ssize_t = PyBytes_GET_SIZE(part)
    memcpy(text + at, PyBytes_AS_STRING(part), size)
    return at + size


def fill(template: tuple, names: list, words, width: int, needed: int = -1) -> bytes:
    """The text of a template, filled in for one row after the other.

    ``template``: bytes are written as they are, None is the name of the row, an integer the place of a number in the
    row, and a Seconds that of one in microseconds. ``names``: bytes, one for each row. ``words``: an array of unsigned
    64-bit numbers, ``width`` in each row. ``needed``: rows in which the number at this place is 0 are left out; -1
    leaves none out. Raises IndexError when a row has no such place, or TypeError.
    """
    numbers: cython.ulonglong[::1] = words
    count: cython.Py_ssize_t = len(names)
    columns: cython.Py_ssize_t = width
    without: cython.Py_ssize_t = needed
    rest: cython.Py_ssize_t
    row: cython.Py_ssize_t
    place: cython.Py_ssize_t
    size: cython.Py_ssize_t = 0
    constant: cython.Py_ssize_t = 0
    named: cython.Py_ssize_t = 0
    at: cython.Py_ssize_t = 0
    if columns < 0 or without >= columns or numbers.shape[0] != count * columns:
        raise IndexError("the rows have other numbers than that")
    for item in template:
        if item is None:
            named += 1
        elif isinstance(item, bytes):
            constant += len(item)
        else:
            place = item
            if place < 0 or place >= columns:
                raise IndexError("a row has no such place")
    for row in range(count):
        name = names[row]
        if not isinstance(name, bytes):
            raise TypeError("a name is bytes")
        rest = row * columns
        if without >= 0 and numbers[rest + without] == 0:
            continue
        size += constant + named * PyBytes_GET_SIZE(name)
        for item in template:
            if item is None or isinstance(item, bytes):
                continue
            place = item
            if type(item) is int:
                size += digits(numbers[rest + place])
            else:
                size += digits(numbers[rest + place] // MICROSECONDS) + 1 + decimals(numbers[rest + place])
    made: bytes = PyBytes_FromStringAndSize(cython.NULL, size)
    text: cython.p_char = PyBytes_AS_STRING(made)
    for row in range(count):
        rest = row * columns
        if without >= 0 and numbers[rest + without] == 0:
            continue
        for item in template:
            if item is None:
                at = put(text, at, names[row])
            elif isinstance(item, bytes):
                at = put(text, at, item)
            else:
                place = item
                if type(item) is int:
                    at = put_digits(text, at, digits(numbers[rest + place]), numbers[rest + place])
                else:
                    at = put_seconds(text, at, numbers[rest + place])
    return made


def fill_histogram(words) -> bytes:
    """A histogram as JSON: how many values there are, their sum in microseconds, and the counts of the buckets.

    ``words``: an array of unsigned 64-bit numbers, the counts and then the sum. Buckets without values are left out.
    Raises IndexError without a number.
    """
    numbers: cython.ulonglong[::1] = words
    buckets: cython.Py_ssize_t = numbers.shape[0] - 1
    bucket: cython.Py_ssize_t
    count: cython.ulonglong = 0
    if buckets < 0:
        raise IndexError("a histogram has a sum")
    size: cython.Py_ssize_t = PyBytes_GET_SIZE(_COUNT) + PyBytes_GET_SIZE(_TOTAL) + PyBytes_GET_SIZE(_BUCKETS)
    for bucket in range(buckets):
        if numbers[bucket] > 0:
            # The number of the bucket in quotes, a colon, its count, and a comma or the first brace at the end.
            size += digits(bucket) + digits(numbers[bucket]) + 4
            count += numbers[bucket]
    size += digits(count) + digits(numbers[buckets]) + (1 if count > 0 else 2)
    made: bytes = PyBytes_FromStringAndSize(cython.NULL, size)
    text: cython.p_char = PyBytes_AS_STRING(made)
    at: cython.Py_ssize_t = put(text, 0, _COUNT)
    at = put_digits(text, at, digits(count), count)
    at = put(text, at, _TOTAL)
    at = put_digits(text, at, digits(numbers[buckets]), numbers[buckets])
    at = put(text, at, _BUCKETS)
    for bucket in range(buckets):
        if numbers[bucket] > 0:
            text[at] = ord('"')
            at = put_digits(text, at + 1, digits(bucket), bucket)
            text[at] = ord('"')
            text[at + 1] = ord(":")
            at = put_digits(text, at + 2, digits(numbers[bucket]), numbers[bucket])
            text[at] = ord(",")
            at += 1
    # The last comma gives way.
    text[size - 2] = ord("}")
    text[size - 1] = ord("}")
    return made
