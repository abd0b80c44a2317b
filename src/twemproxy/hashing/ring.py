"""The hash ring, which maps a key to one of a pool's live servers, and its builder.

Dual: sans-IO, the interpreter runs the same code over ``bytes``. A pool has one builder. A ring does not change: when
servers are ejected or return, the builder makes another one.
"""

import operator
from array import array
from collections.abc import Iterator, Sequence

import cython

from twemproxy.hashing import HASHES
from twemproxy.hashing.placement import PLACEMENTS, POINTS_PER_DIGEST, digest_counts, digest_points
from twemproxy.hashing.sharding import Sharding

if not cython.compiled:
    from twemproxy.hashing.functions import hash_key

# Parts of the range of values in which the points of a ring are sorted.
PARTS = 256
PART_SHIFT = 24
MASK = cython.declare(cython.const[cython.uint], 0xFFFFFFFF)


@cython.final
@cython.cclass
class Ring:
    """Maps a key to the index of a live server. ``random_state`` is all that changes, for ``random``."""

    def __init__(
        self,
        values: Sequence[int],
        owners: Sequence[int],
        modulus: int,
        hash: str,
        hash_tag: bytes,
        is_single: bool,
        is_random: bool,
        seed: int,
    ) -> None:
        """``values`` and ``owners``: the points in ascending order, and a last one of the highest value that belongs
        to the first point's owner. ``modulus``: a key's value is its hash modulo this number, 0 for the hash itself.

        ``is_single``: the pool has one server. ``is_random``: a key's value is a random number instead; ``seed``: its
        low 32 bits start these numbers. The rest as in ``RingBuilder``.
        """
        self.values = values
        self.owners = owners
        self.modulus = modulus
        self.function = HASHES.index(hash)
        self.tag_opening = hash_tag[0] if hash_tag else -1
        self.tag_closing = hash_tag[1] if hash_tag else -1
        self.single = is_single
        self.is_random = is_random
        # The factor makes neighbouring seeds draw different numbers; xorshift must not start from 0.
        self.random_state = (seed * 0x9E3779B1) & 0xFFFFFFFF or 1
        self.make_buckets()

    def make_buckets(self) -> None:
        """Divide the points into buckets.

        A value's top bits choose its bucket, which has the first point at or above the bucket's start. With at least as
        many buckets as points, a lookup skips less than one point on average.
        """
        bucket: cython.Py_ssize_t
        first: cython.int = 0
        highest: cython.uint = (self.modulus - 1) & 0xFFFFFFFF
        points: cython.Py_ssize_t = len(self.values) - 1
        self.shift = max(0, int(highest).bit_length() - int(2 * points).bit_length())
        size: cython.Py_ssize_t = (highest >> self.shift) + 1
        self.buckets = array("i", bytes(4 * size))
        for bucket in range(size):
            while self.values[first] < cython.cast(cython.uint, bucket << self.shift):
                first += 1
            self.buckets[bucket] = first

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def route(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Index of the server that has the key ``buf[start:end]``; with ``random`` a new random one for each call."""
        value: cython.uint
        point: cython.Py_ssize_t
        if self.single:
            return 0
        value = self.draw() if self.is_random else self.hash_untagged(buf, start, end)
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
        """The next random number, 1 to 2**32 - 1 (xorshift32: Marsaglia, 2003)."""
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
        """The hash of the part that the hash tag encloses, or of the whole key without a tag; 0 for an empty key."""
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
        """Index of the server that has ``key`` (for tests and tools)."""
        return int(self.route(key, 0, len(key)))

    def look_up(self, key: bytes) -> tuple[int, int, int]:
        """The hash of ``key``, the point that it leads to, and the index of the server of this point (for tools).

        The point is a value of ``points``. Raises ValueError for a ring of random servers: no key has a place there.
        """
        value: cython.uint
        point: cython.Py_ssize_t
        if self.is_random and not self.single:
            raise ValueError("the ring chooses a random server for each request")
        hash: cython.uint = self.hash_untagged(key, 0, len(key))
        value = hash if self.modulus == 0 else hash % self.modulus
        point = self.buckets[value >> self.shift]
        while self.values[point] < value:
            point += 1
        # The last entry is the first point once more.
        place = 0 if point == len(self.values) - 1 else point
        return int(hash), int(self.values[place]), self.owners[point]

    def points(self) -> list[tuple[int, int]]:
        """The points as (value, server index), in ascending order of value (for tests and tools)."""
        points = list(zip(self.values, self.owners, strict=True))
        points.pop()
        return points


@cython.final
@cython.cclass
class RingBuilder:
    """Builds the rings of a pool: one for each set of live servers that it is asked for."""

    def __init__(
        self,
        distribution: str,
        hash: str,
        hash_tag: bytes,
        names: Sequence[bytes],
        weights: Sequence[int],
        seed: int,
    ) -> None:
        """``names`` and ``weights`` (1 or more): those of the pool's servers in index order; at least one server.

        ``hash_tag``: the two bytes around the part of a key that is hashed, or empty. ``seed``: starts the random
        numbers of the distribution ``random``; each later ring has the next seed. Raises ValueError for an unknown
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
        self.distribution = distribution
        self.hash = hash
        self.hash_tag = hash_tag
        self.names = list(names)
        self.weights = list(weights)
        self.seed = seed
        self.most_digests = [0] * len(names)
        self.prepared: Ring | None = None

    def build(self, live: Sequence[bool]) -> Ring:
        """Build the ring of the live servers; ``live``: one bool per server, in index order.

        Raises ValueError without a live server, or for another number of bools.
        """
        if len(live) != len(self.names):
            raise ValueError("one bool for each server")
        indices = [index for index, alive in enumerate(live) if alive]
        if not indices:
            raise ValueError("a ring needs a live server")
        prepared, self.prepared = self.prepared, None
        if prepared is not None and len(indices) == len(self.names):
            return prepared
        seed, self.seed = self.seed, self.seed + 1
        modulus = 0
        # A last entry ends every lookup, so lookups need no check for the end.
        if self.distribution == "ketama":
            values, owners = self.select_points(indices)
        else:
            points, modulus = PLACEMENTS[self.distribution](self.names, self.weights, indices)
            values = array("I", [*(value for value, _ in points), 0xFFFFFFFF])
            owners = array("i", [*(index for _, index in points), points[0][1]])
        is_random = self.distribution == "random"
        return Ring(values, owners, modulus, self.hash, self.hash_tag, len(self.names) == 1, is_random, seed)

    def select_points(self, live: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
        """The values and the owners of the ketama points of these servers, as ``placement.ketama`` has them.

        They are selected from the sorted points of all servers, so an ejection neither hashes nor sorts.
        """
        i: cython.Py_ssize_t
        n: cython.Py_ssize_t = 0
        wanted: list[int] = [0] * len(self.names)
        for index, count in zip(live, digest_counts([self.weights[index] for index in live]), strict=True):
            wanted[index] = count
        if any(map(operator.gt, wanted, self.most_digests)):
            self.collect_points(wanted)
        self.wanted_digests = array("i", wanted)
        size: cython.Py_ssize_t = POINTS_PER_DIGEST * sum(wanted) + 1
        found_values, found_owners = array("I", bytes(4 * size)), array("i", bytes(4 * size))
        self.chosen_values, self.chosen_owners = found_values, found_owners
        for i in range(len(self.all_values)):
            if self.all_digests[i] < self.wanted_digests[self.all_owners[i]]:
                self.chosen_values[n] = self.all_values[i]
                self.chosen_owners[n] = self.all_owners[i]
                n += 1
        self.chosen_values[n] = 0xFFFFFFFF
        self.chosen_owners[n] = self.chosen_owners[0]
        return found_values, found_owners

    def prepare(self) -> Iterator[None]:
        """Compute ahead what ``build`` needs for all servers, in many short steps.

        A thousand servers take a tenth of a second, and the last step a few milliseconds.
        """
        if self.distribution == "ketama":
            wanted = digest_counts(self.weights)
            if any(map(operator.gt, wanted, self.most_digests)):
                yield from self.collect_in_steps(wanted)
        self.prepared = self.build([True] * len(self.names))
        yield

    def collect_points(self, wanted: Sequence[int]) -> None:
        """As ``collect_in_steps``, at once."""
        for _ in self.collect_in_steps(wanted):
            pass

    def collect_in_steps(self, wanted: Sequence[int]) -> Iterator[None]:
        """Compute and sort the points of all servers, in steps of up to a fraction of a millisecond.

        ``wanted``: the number of digests of each server. Each gets some more, because after an ejection the remaining
        servers may need more.
        """
        most = [max(have, count + count // 16 + 1) for have, count in zip(self.most_digests, wanted, strict=True)]
        # Values are evenly spread, so each part of the range has a small number of them.
        parts: list[list[int]] = [[] for _ in range(PARTS)]
        owners, digests = array("i"), array("i")
        for index, count in enumerate(most):
            for place, value in enumerate(digest_points(self.names[index], count)):
                parts[value >> PART_SHIFT].append(value << 32 | len(owners))
                owners.append(index)
                digests.append(place // POINTS_PER_DIGEST)
            yield
        values, sorted_owners, sorted_digests = array("I"), array("i"), array("i")
        for part in parts:
            # Equal values stay in the order of the servers.
            part.sort()
            places = [point & 0xFFFFFFFF for point in part]
            values.extend([point >> 32 for point in part])
            sorted_owners.extend([owners[place] for place in places])
            sorted_digests.extend([digests[place] for place in places])
            yield
        self.all_values, self.all_owners, self.all_digests = values, sorted_owners, sorted_digests
        self.most_digests = most


def ring_of(sharding: Sharding, live: Sequence[bool] = ()) -> Ring:
    """Build the ring of a pool (for tests and tools). ``live``: as in ``RingBuilder.build``, empty if all are live."""
    builder = RingBuilder(
        sharding.distribution, sharding.hash, sharding.hash_tag, sharding.names, sharding.weights, seed=1
    )
    return builder.build(live or [True] * len(sharding.names))
