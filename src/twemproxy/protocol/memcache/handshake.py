"""The handshake of connections to memcached servers, and health checks.

Plain Python. The handshake asks for the server's version, which shows its features.
"""

import re

from twemproxy.protocol.handshake import Handshake, Settings
from twemproxy.protocol.memcache.errors import META_UNSUPPORTED

VERSION_STEP = "version"
META_OFFER = 1
"""The feature that ``request_parser.META_KNOWN`` requires."""
FIRST_WITH_META = (1, 6, 10)

_VERSION = re.compile(rb"VERSION (\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?")


class MemcacheHandshake(Handshake):
    """One step, ``version``."""

    def steps(self, settings: Settings, profile: int) -> list[tuple[str, bytes]]:
        return [(VERSION_STEP, self.probe())]

    def problem(self, step: str, reply: bytes) -> str:
        if reply.startswith(b"VERSION"):
            return ""
        return reply.rstrip().decode("utf-8", "replace")

    def features(self, step: str, reply: bytes) -> int:
        """A version in another form is that of another server, which is assumed to have all features."""
        found = _VERSION.match(reply)
        if found and tuple(int(number or 0) for number in found.groups()) < FIRST_WITH_META:
            return 0
        return META_OFFER

    def missing_feature_text(self) -> str:
        return META_UNSUPPORTED

    def probe(self) -> bytes:
        return b"version\r\n"

    def is_well(self, reply: bytes) -> bool:
        return reply.startswith(b"VERSION ")
