"""The server that owns a key, among the live servers of a pool.

Dual: sans-IO, the interpreter runs these same lines over ``bytes``. One continuum per pool.
"""

from array import array
from collections.abc import Sequence

import cython

from twemproxy.hashing import HASHES
from twemproxy.hashing.placement import PLACEMENTS

if not cython.compiled:
    from twemproxy.hashing.functions import hash_key

MASK = cython.declare(cython.const[cython.uint], 0xFFFFFFFF)


@cython.final
@cython.cclass
class Continuum:
    """Maps a key to the index of a server. All servers are live at first."""

    def __init__(
        self,
        distribution: str,
        hash: str,
        hash_tag: bytes,
        names: Sequence[bytes],
        weights: Sequence[int],
        seed: int,
    ) -> None:
        """``names`` and ``weights`` (1 or more) of the pool's servers in order of index; at least one.

        ``hash_tag`` is the two bytes around the part of a key that is hashed, or empty. ``seed``, of which
        the low 32 bits count, starts the draws of distribution ``random``. ValueError for an unknown
        distribution or hash, a tag of another length, or names and weights that do not match.
        """
        if distribution not in PLACEMENTS:
            raise ValueError(f"unknown distribution {distribution!r}")
        if hash not in HASHES:
            raise ValueError(f"unknown hash {hash!r}")
        if len(hash_tag) not in (0, 2):
            raise ValueError("a hash tag has two characters")
        if not names or len(names) != len(weights) or min(weights) < 1:
            raise ValueError("servers need a name and a weight each")
        self.place = PLACEMENTS[distribution]
        self.names = list(names)
        self.weights = list(weights)
        self.function = HASHES.index(hash)
        self.tag_opening = hash_tag[0] if hash_tag else -1
        self.tag_closing = hash_tag[1] if hash_tag else -1
        self.single = len(names) == 1
        self.draws = distribution == "random"
        # The factor keeps apart the draws of neighbouring seeds; xorshift must not start from 0.
        self.random_state = (seed * 0x9E3779B1) & 0xFFFFFFFF or 1
        self.modulus = 0
        self.shift = 0
        self.rebuild([True] * len(names))

    def rebuild(self, live: Sequence[bool]) -> None:
        """Place only the servers that are live (one truth per server, in order of index).

        With no live server the continuum stays as it is: refusing requests then is up to the caller.
        """
        if len(live) != len(self.names):
            raise ValueError("one truth per server")
        indices = [index for index, alive in enumerate(live) if alive]
        if not indices:
            return
        points, modulus = self.place(self.names, self.weights, indices)
        values = [value for value, _ in points]
        owners = [index for _, index in points]
        # Lookups stop here at the latest, so they need no check for the end.
        values.append(0xFFFFFFFF)
        owners.append(owners[0])
        # A value's top bits choose its bucket, and that tells the first point at or above the bucket's start.
        # With at least as many buckets as points, a lookup passes less than one point on average.
        highest = (modulus - 1) & 0xFFFFFFFF
        shift = max(0, highest.bit_length() - (2 * len(points)).bit_length())
        buckets = []
        first = 0
        for bucket in range((highest >> shift) + 1):
            while values[first] < bucket << shift:
                first += 1
            buckets.append(first)
        self.modulus = modulus
        self.shift = shift
        self.values = array("I", values)
        self.owners = array("i", owners)
        self.buckets = array("i", buckets)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def route(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Index of the server that owns the key ``buf[start:end]``; ``random`` draws anew at each call."""
        value: cython.uint
        point: cython.Py_ssize_t
        if self.single:
            return 0
        value = self.draw() if self.draws else self.hash_untagged(buf, start, end)
        if self.modulus != 0:
            value %= self.modulus
        point = self.buckets[value >> self.shift]
        while self.values[point] < value:
            point += 1
        return self.owners[point]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def draw(self) -> cython.uint:
        """The next of a sequence of random numbers, 1 to 2**32 - 1 (xorshift32: Marsaglia, 2003)."""
        state: cython.uint = self.random_state
        state ^= (state << 13) & MASK
        state ^= state >> 17
        state ^= (state << 5) & MASK
        self.random_state = state
        return state

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def hash_untagged(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.uint:
        """Hash of what the hash tag encloses, or of the whole key if that is nothing; 0 for an empty key."""
        opening: cython.Py_ssize_t = start
        closing: cython.Py_ssize_t
        if self.tag_opening >= 0:
            while opening < end and buf[opening] != self.tag_opening:
                opening += 1
            closing = opening + 1
            while closing < end and buf[closing] != self.tag_closing:
                closing += 1
            if closing < end and closing > opening + 1:
                start = opening + 1
                end = closing
        if start >= end:
            return 0
        return hash_key(self.function, buf, start, end)

    def server_for(self, key: bytes) -> int:
        """Index of the server that owns ``key`` (tests and tools)."""
        return self.route(key, 0, len(key))

    def points(self) -> list[tuple[int, int]]:
        """The points as (value, server index), ascending by value (tests and tools)."""
        points = list(zip(self.values, self.owners, strict=True))
        points.pop()
        return points
