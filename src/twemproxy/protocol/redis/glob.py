"""Patterns as in CONFIG GET: ``*``, ``?``, ``[a-z]``, ``[^a]``, and a backslash before a literal byte.

Dual. Source: redis.io, "KEYS", which describes the patterns. A match takes up to the product of both lengths.
"""

import cython


def glob_matches(pattern: bytes, name: bytes) -> bool:
    """Whether the whole name matches the pattern; case matters."""
    p: cython.Py_ssize_t = 0
    n: cython.Py_ssize_t = 0
    ends: cython.Py_ssize_t = len(pattern)
    length: cython.Py_ssize_t = len(name)
    star: cython.Py_ssize_t = -1
    taken: cython.Py_ssize_t = 0
    after: cython.Py_ssize_t
    while n < length:
        if p < ends and pattern[p] == 42:  # *
            star = p
            taken = n
            p += 1
            continue
        after = after_match(pattern, p, ends, name[n]) if p < ends else -1
        if after >= 0:
            p = after
            n += 1
        elif star >= 0:
            # The last star takes one more byte.
            p = star + 1
            taken += 1
            n = taken
        else:
            return False
    while p < ends and pattern[p] == 42:
        p += 1
    return p == ends


@cython.cfunc
@cython.exceptval(-2, check=False)
def after_match(pattern: bytes, at: cython.Py_ssize_t, end: cython.Py_ssize_t, byte: cython.int) -> cython.Py_ssize_t:
    """The position after the part of the pattern at ``at``, which is below ``end``, if the byte matches it; else -1."""
    inverted: cython.bint
    found: cython.bint = False
    low: cython.int
    high: cython.int
    if pattern[at] == 63:  # ?
        return at + 1
    if pattern[at] == 92 and at + 1 < end:  # a backslash
        return at + 2 if pattern[at + 1] == byte else -1
    if pattern[at] != 91:  # [
        return at + 1 if pattern[at] == byte else -1
    at += 1
    inverted = at < end and pattern[at] == 94  # ^
    if inverted:
        at += 1
    while at < end and pattern[at] != 93:  # ]
        if pattern[at] == 92 and at + 1 < end:
            at += 1
            low = high = pattern[at]
        elif at + 2 < end and pattern[at + 1] == 45:  # -
            low = min(pattern[at], pattern[at + 2])
            high = max(pattern[at], pattern[at + 2])
            at += 2
        else:
            low = high = pattern[at]
        if low <= byte <= high:
            found = True
        at += 1
    return min(at + 1, end) if found != inverted else -1
