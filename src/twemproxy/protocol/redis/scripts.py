"""The memory of scripts: it makes an EVAL from an EVALSHA whose script a server does not know.

Plain Python. The bodies of each EVAL that has run and each SCRIPT LOAD that has succeeded are kept by their digests,
the latest ones, up to a total size. Each worker tells the others of scripts that are new to it, so that all have them.
"""

import hashlib
from collections import OrderedDict

from twemproxy.protocol.other_workers import NO_OTHER_WORKERS, OtherWorkers
from twemproxy.protocol.redis.inline import decode_request, decode_some, encode_request

SCRIPT_CALLS = {"eval": "", "eval_ro": "", "evalsha": "eval", "evalsha_ro": "eval_ro"}
"""The commands that run a script; for one with a digest, the command that runs the script by its body."""

SCRIPT_FORMS = {name: 1 if by_body else 2 for name, by_body in SCRIPT_CALLS.items()}
"""1 for a command with a digest, 2 for a command with a body."""

MOST_BYTES = 16 * 1024 * 1024
"""Most bytes of all scripts together."""

LONGEST = 64 * 1024
"""Most bytes of a script that is kept: a short EVALSHA must not become a request of any length."""

OVERHEAD = 512
"""Bytes of memory that a script takes besides its body."""

SCRIPT, NO_SCRIPTS = "script", "no scripts"
"""Notices to other workers, see ``protocol.other_workers``: a body, and that the servers have dropped their scripts."""

SCRIPTS = "scripts"
"""A question to another worker: all bodies."""

_UNKNOWN = b"-NOSCRIPT No matching script. Please use EVAL.\r\n"
"""The error of redis and valkey for an unknown script. A script that replies with the same error runs twice."""


class ScriptMemory:
    """The scripts of one pool. ``digests``: the digest of each body, the latest one last."""

    def __init__(self) -> None:
        self.digests: OrderedDict[bytes, bytes] = OrderedDict()
        self._bodies: dict[bytes, bytes] = {}
        self._size = 0
        self.others: OtherWorkers = NO_OTHER_WORKERS
        """The other workers; can be replaced."""

    def remember(self, body: bytes) -> None:
        """Keep a script that was used here, and tell the other workers if it is new."""
        if self.learn(body):
            self.others.tell(SCRIPT, (body,))

    def learn(self, body: bytes) -> bool:
        """Keep a script; drop the oldest ones if the total is too large. Returns whether it is new and kept."""
        if len(body) > LONGEST:
            return False
        if body in self.digests:
            self.digests.move_to_end(body)
            return False
        digest = hashlib.sha1(body, usedforsecurity=False).hexdigest().encode()
        self.digests[body] = digest
        self._bodies[digest] = body
        self._size += len(body) + OVERHEAD
        while self._size > MOST_BYTES:
            forgotten, digest = self.digests.popitem(last=False)
            self._bodies.pop(digest, None)
            self._size -= len(forgotten) + OVERHEAD
        return True

    def forget(self) -> None:
        """Drop all scripts, here and in the other workers, because the servers drop theirs."""
        self.drop()
        self.others.tell(NO_SCRIPTS, ())

    def drop(self) -> None:
        """Drop all scripts of this worker."""
        self.digests.clear()
        self._bodies.clear()
        self._size = 0

    def remember_script(self, request: bytes) -> None:
        """Keep the script of an EVAL that has run."""
        [name, body], _ = decode_some(request, 0, 2)
        if not SCRIPT_CALLS[name.decode().lower()]:
            self.remember(body)

    def retry_form(self, request: bytes, reply: bytes) -> bytes:
        """The EVAL for an EVALSHA with this error; empty for another error or an unknown script."""
        if reply != _UNKNOWN:
            return b""
        name, digest, *rest = decode_request(request)
        body = self._bodies.get(digest.lower())
        by_body = SCRIPT_CALLS[name.decode().lower()]
        return encode_request([by_body.encode(), body, *rest]) if body is not None and by_body else b""
