"""The table of targets that are fuzzed by coverage."""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fuzz import configuration, memcached_parsers, redis_parsers
from fuzz.checking import Check
from harness.flavours import Load


class Target(NamedTuple):
    """One target of fuzzing."""

    check: Callable[[Load], Check]
    """Returns a function that checks an input, and raises if something is wrong. The modules are loaded with ``Load``.

    The result of a check depends on the input only.
    """
    message: Callable[[random.Random], bytes]
    """Makes a piece of input, which is usually valid."""
    tokens: Sequence[bytes]
    """The pieces of which inputs are made."""
    longest: int
    """The largest number of bytes of an input."""


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
