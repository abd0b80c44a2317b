"""The keys of a pool with the most requests in one worker, by a sample of the requests.

Compiled-only. The algorithm is Space-Saving (Metwally, Agrawal, El Abbadi: "Efficient Computation of Frequent and Top-k
Elements in Data Streams", 2005): a key that is not counted yet takes the place of the one with the lowest count, and
begins with this count, which is its largest possible error. Every HALF_LIFE all counts are halved, so that they show
the present. Memory and time per sample are bounded, whatever keys clients use.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize
from cython.cimports.libc.stdint import int64_t, uint64_t

# Samples per second at most, on average.
MOST_SAMPLES = cython.declare(cython.const[cython.Py_ssize_t], 2000)
PERIOD = cython.declare(cython.const[int64_t], 100_000)
HALF_LIFE = cython.declare(cython.const[int64_t], 10_000_000)
# Bytes of a key that are kept; longer keys with the same beginning count as one.
LONGEST = cython.declare(cython.const[cython.Py_ssize_t], 512)

SECONDS = 10 / 0.6931471805599453
"""Seconds of steady traffic for which a count stands: HALF_LIFE divided by the natural logarithm of 2."""


@cython.final
@cython.cclass
class HotKeys:
    """The keys: those of ``keys`` up to ``used`` have the names in ``names``."""

    def __cinit__(self) -> None:
        self.names = [b""] * HOT_KEYS
        self.interval = 1
        self.random = 0x9E3779B97F4A7C15

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def note(
        self,
        key: cython.pointer[cython.const[cython.uchar]],
        length: cython.Py_ssize_t,
        size: cython.Py_ssize_t,
        now: int64_t,
    ) -> cython.int:
        """Count a sampled request of ``size`` bytes for a key; returns the key's place, from 1, for ``note_reply``.

        ``now``: the time, in microseconds.
        """
        name: bytes = PyBytes_FromStringAndSize(cython.cast(cython.p_char, key), min(length, LONGEST))
        hashed: int64_t = hash(name)
        place: cython.int
        lowest: cython.int = 0
        weight: cython.Py_ssize_t = self.interval
        self.samples += 1
        if now - self.since >= PERIOD:
            self.adapt(now)
        # A random distance of `interval` on average, so that a pattern of the requests is not met.
        self.random ^= self.random << 13
        self.random ^= self.random >> 7
        self.random ^= self.random << 17
        self.left = 1 + cython.cast(cython.Py_ssize_t, self.random % cython.cast(uint64_t, 2 * self.interval - 1))
        for place in range(self.used):
            if self.keys[place].hash == hashed and self.names[place] == name:
                self.keys[place].count += weight
                self.keys[place].bytes += cython.cast(cython.double, weight) * size
                self.keys[place].largest = max(self.keys[place].largest, size)
                return place + 1
            if self.keys[place].count < self.keys[lowest].count:
                lowest = place
        if self.used < HOT_KEYS:
            lowest = self.used
            self.used += 1
            self.keys[lowest].count = 0
        self.names[lowest] = name
        self.keys[lowest].hash = hashed
        self.keys[lowest].error = self.keys[lowest].count
        self.keys[lowest].count += weight
        self.keys[lowest].bytes = cython.cast(cython.double, weight) * size
        self.keys[lowest].largest = size
        return lowest + 1

    @cython.cfunc
    @cython.exceptval(check=False)
    def note_reply(self, place: cython.int, size: cython.Py_ssize_t) -> cython.void:
        """The reply to a sampled request has ``size`` bytes. ``place``: the result of ``note``.

        If another key has taken the place since then, the bytes are counted for that one.
        """
        key: cython.pointer[HotKey]
        if 1 <= place <= self.used:
            key = cython.address(self.keys[place - 1])
            key.bytes += cython.cast(cython.double, self.interval) * size
            key.largest = max(key.largest, size)

    @cython.cfunc
    @cython.exceptval(check=False)
    def adapt(self, now: int64_t) -> cython.void:
        """Choose how many requests there are per sample, and halve the counts when it is time."""
        place: cython.int
        most: cython.Py_ssize_t = cython.cast(cython.Py_ssize_t, MOST_SAMPLES * (now - self.since) // 1_000_000)
        # Requests per sample for the number of requests that the last samples stand for.
        self.interval = max(self.interval * self.samples // max(most, 1), 1)
        self.samples = 0
        self.since = now
        while now - self.halved_at >= HALF_LIFE:
            if now - self.halved_at >= 64 * HALF_LIFE:
                self.used = 0
                self.halved_at = now
                break
            self.halved_at += HALF_LIFE
            for place in range(self.used):
                self.keys[place].count /= 2
                self.keys[place].error /= 2
                self.keys[place].bytes /= 2

    def top(self, n: int, now: int) -> list:
        """(key, requests per second, largest error of that, bytes per second, largest request or reply) of the ``n``
        keys with the most requests, in this order. ``now``: the time, in microseconds.
        """
        place: cython.int
        rows: list = []
        if now - self.since >= PERIOD:
            # There may have been no requests since then.
            self.adapt(now)
        for place in range(self.used):
            if self.keys[place].count >= 1:
                rows.append(
                    (
                        self.names[place],
                        self.keys[place].count / SECONDS,
                        self.keys[place].error / SECONDS,
                        self.keys[place].bytes / SECONDS,
                        self.keys[place].largest,
                    )
                )
        rows.sort(key=lambda row: row[1], reverse=True)
        return rows[:n]

    def sample(self, key: bytes, size: int, now: int) -> int:
        """For tests: ``note`` if the request is sampled; returns the key's place, 0 if it is not."""
        if not is_sampled(self):
            return 0
        return self.note(key, len(key), size, now)
