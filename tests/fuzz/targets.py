"""What is fuzzed by coverage, as a table."""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fuzz import configuration, memcached_parsers, redis_parsers
from fuzz.checking import Check, Load


class Target(NamedTuple):
    """One thing to fuzz."""

    check: Callable[[Load], Check]
    """Makes, once the modules are loaded, what takes an input and raises if something is wrong with what becomes of it.

    What it does depends on nothing but the input.
    """
    message: Callable[[random.Random], bytes]
    """Makes a piece of input, valid more often than not."""
    tokens: Sequence[bytes]
    """What inputs are made of."""
    longest: int
    """Bytes of an input."""


TARGETS: dict[str, Target] = {
    "redis_requests": Target(redis_parsers.requests, redis_parsers.request, redis_parsers.REQUEST_TOKENS, 1024),
    "redis_replies": Target(redis_parsers.replies, redis_parsers.reply, redis_parsers.REPLY_TOKENS, 512),
    "memcached_requests": Target(
        memcached_parsers.requests, memcached_parsers.request, memcached_parsers.REQUEST_TOKENS, 2560
    ),
    "memcached_replies": Target(
        memcached_parsers.replies, memcached_parsers.reply, memcached_parsers.REPLY_TOKENS, 512
    ),
    "configuration": Target(configuration.files, configuration.pool, configuration.TOKENS, 1024),
}
