"""What decides which server of a pool has a key, as one value."""

from typing import NamedTuple

HASH_RANGES = {"crc32": 1 << 15}
"""The number of values of a hash function, if it is not 2**32: this ``crc32`` has 15 bits, as libmemcached's."""


class Sharding(NamedTuple):
    """The directives and the servers that decide which server has a key. The arguments of ``ring.RingBuilder``."""

    distribution: str
    hash: str
    hash_tag: bytes
    """Two bytes, or empty if not set."""
    names: tuple[bytes, ...]
    """The names of the servers in the order of a configuration: shorter names first, then by bytes."""
    weights: tuple[int, ...]
    """One for each name."""

    @property
    def hash_values(self) -> int:
        """The number of values of the hash function: 0 to this number, exclusive."""
        return HASH_RANGES.get(self.hash, 1 << 32)

    @property
    def is_single(self) -> bool:
        """Whether one server has all keys, whatever the directives are."""
        return len(self.names) == 1

    @property
    def is_random(self) -> bool:
        """Whether no key has a server: each request goes to a random one."""
        return self.distribution == "random" and not self.is_single

    def hashed_part(self, key: bytes) -> bytes:
        """Return the part of a key that is hashed: what the hash tag encloses, or the whole key without a tag in it."""
        if not self.hash_tag:
            return key
        opening = key.find(self.hash_tag[:1])
        closing = key.find(self.hash_tag[1:], opening + 1)
        return key[opening + 1 : closing] if opening >= 0 and closing > opening + 1 else key
