"""The ring fingerprint: a short text that is equal for pools that place every key equally.

It is the first 16 hexadecimal digits of the SHA-256 of the canonical text (``canonical_text``), so that programs in any
language can compute it.
"""

import importlib
import json
from typing import Final

from twemproxy.hashing.sharding import Sharding

# hashlib loads OpenSSL, which takes 4 MB of memory. Python's own module has another name from 3.12 on.
_IMPLEMENTATIONS: Final = ("_sha2", "_sha256", "hashlib")

DIGITS = 16
"""Length of a fingerprint in hexadecimal digits."""


def canonical_text(sharding: Sharding) -> bytes:
    """Return the text from which the fingerprint is made.

    It is JSON without spaces, all characters above ASCII escaped: ``[distribution, hash, hash_tag, servers]``, where
    servers is a list of ``[name, weight]``, shorter names first, then in the order of their bytes. What does not matter
    is left out: all but the name in a pool of one server, and all but the names with the distribution ``random``. Bytes
    that are not UTF-8 become the code points U+DC80 to U+DCFF.
    """
    servers = sorted(zip(sharding.names, sharding.weights, strict=True), key=lambda server: (len(server[0]), server[0]))
    names = [_text(name) for name, _ in servers]
    parts: list[object]
    if sharding.is_single:
        parts = [*names]
    elif sharding.is_random:
        parts = ["random", names]
    else:
        weighted = [[name, weight] for name, (_, weight) in zip(names, servers, strict=True)]
        parts = [sharding.distribution, sharding.hash, _text(sharding.hash_tag), weighted]
    return json.dumps(parts, separators=(",", ":")).encode()


def ring_fingerprint(sharding: Sharding) -> str:
    """Return the fingerprint: 16 hexadecimal digits. Two pools with the same one place every key equally."""
    return digest(canonical_text(sharding))


def digest(text: bytes) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a text."""
    for name in _IMPLEMENTATIONS:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        return str(module.sha256(text).hexdigest())[:DIGITS]
    raise AssertionError("hashlib is part of Python")


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")
