"""Scripts that clients have shown: what repairs an EVALSHA that its server does not know.

Plain Python. The body of every EVAL and SCRIPT LOAD is remembered by its digest, the latest ones up to a total size.
"""

import hashlib
from collections import OrderedDict

from twemproxy.protocol.redis.inline import decode_request, encode_request

SCRIPT_CALLS = {"eval": "", "eval_ro": "", "evalsha": "eval", "evalsha_ro": "eval_ro"}
"""Commands that run a script, and the one that runs it by its body where this one has a digest."""

SCRIPT_FORMS = {name: 1 if by_body else 2 for name, by_body in SCRIPT_CALLS.items()}
"""1 for a script by its digest, 2 by its body."""

MOST_BYTES = 16 * 1024 * 1024
"""Of all remembered scripts together; a longer one is not remembered."""

OVERHEAD = 256
"""Bytes that a script takes beside its body."""

_UNKNOWN = b"-NOSCRIPT No matching script"


class ScriptMemory:
    """The scripts of one pool."""

    def __init__(self) -> None:
        self._bodies: OrderedDict[bytes, bytes] = OrderedDict()
        self._size = 0

    def remember(self, body: bytes) -> None:
        """Keep a script, and forget the oldest when there are too many."""
        digest = hashlib.sha1(body, usedforsecurity=False).hexdigest().encode()
        if digest in self._bodies:
            self._bodies.move_to_end(digest)
            return
        if len(body) + OVERHEAD > MOST_BYTES:
            return
        self._bodies[digest] = body
        self._size += len(body) + OVERHEAD
        while self._size > MOST_BYTES:
            _, forgotten = self._bodies.popitem(last=False)
            self._size -= len(forgotten) + OVERHEAD

    def forget(self) -> None:
        """The servers have been told to forget theirs."""
        self._bodies.clear()
        self._size = 0

    def note(self, request: bytes) -> None:
        """Remember the script of an EVAL."""
        name, body, *_ = decode_request(request)
        if not SCRIPT_CALLS[name.decode().lower()]:
            self.remember(body)

    def repaired(self, request: bytes, reply: bytes) -> bytes:
        """The EVAL for an EVALSHA that got this error; empty when the error is another, or the script not known."""
        if not reply.startswith(_UNKNOWN):
            return b""
        name, digest, *rest = decode_request(request)
        body = self._bodies.get(digest.lower())
        by_body = SCRIPT_CALLS[name.decode().lower()]
        return encode_request([by_body.encode(), body, *rest]) if body is not None and by_body else b""
