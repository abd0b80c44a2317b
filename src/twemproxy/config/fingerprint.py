"""The fingerprints of a configuration: short texts that are equal for equal configurations.

Proxies show them in their statistics, so that a program can find out which proxies of a fleet differ.
"""

from typing import Any, Final

import msgspec

from twemproxy.config.directives import DIRECTIVES
from twemproxy.config.pools import Config, PoolConfig
from twemproxy.hashing.fingerprint import digest, ring_fingerprint
from twemproxy.hashing.sharding import Sharding

_SECRETS: Final = tuple(directive.name for directive in DIRECTIVES if directive.is_secret)
_ITERATIONS: Final = 100_000
"""Of the slow hash that takes the place of a secret; some 20 ms. A reader of the statistics who knows the rest of the
file can try passwords against a fingerprint, but only slowly."""


def sharding_of(pool: PoolConfig) -> Sharding:
    """Return what decides which server of the pool has a key."""
    return Sharding(
        pool.distribution,
        pool.hash,
        pool.hash_tag.encode(),
        tuple(server.name.encode() for server in pool.servers),
        tuple(server.weight for server in pool.servers),
    )


def pool_fingerprint(pool: PoolConfig) -> str:
    """Return the ring fingerprint of a pool, see ``hashing.fingerprint``."""
    return ring_fingerprint(sharding_of(pool))


def canonical_text(config: Config) -> bytes:
    """Return the text from which ``config_fingerprint`` is made.

    It is JSON with every field of every pool, defaults included, members in alphabetical order and without spaces. The
    value of a secret, if it is set, is replaced by its PBKDF2 (HMAC-SHA-256, 100,000 iterations, the name of the
    directive as salt) in hexadecimal digits.
    """
    document: dict[str, Any] = msgspec.to_builtins(config)
    for pool in document["pools"]:
        for name in _SECRETS:
            if pool[name]:
                pool[name] = _slow_hash(pool[name], salt=name)
    return msgspec.json.encode(document, order="sorted")


def config_fingerprint(config: Config) -> str:
    """Return the fingerprint of a whole configuration: 16 hexadecimal digits.

    They are the first of the SHA-256 of ``canonical_text``. Two configurations with the same one are equal.
    """
    return digest(canonical_text(config))


def _slow_hash(secret: str, salt: str) -> str:
    from hashlib import pbkdf2_hmac  # here, because it loads OpenSSL, which takes 4 MB of memory

    return pbkdf2_hmac("sha256", secret.encode(), salt.encode(), _ITERATIONS).hex()
