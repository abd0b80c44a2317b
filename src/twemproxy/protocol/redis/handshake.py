"""The handshake of connections to redis servers, and health checks.

Plain Python. Sources: redis.io, "AUTH", "HELLO", "SELECT".
"""

from typing import Protocol

from twemproxy.protocol.handshake import Handshake, Settings
from twemproxy.protocol.redis.inline import encode_request
from twemproxy.protocol.redis.resp_encoder import bulk
from twemproxy.protocol.redis.session import RESP3_PROFILE, SCRIPTS_PROFILE, database_of, profile_of

AUTH_STEP = "AUTH"
HELLO_STEP = "HELLO 3"
OTHER_DATABASE_STEP = "SELECT of another database"
ECHO_STEP = "ECHO"
FIRST_TOKEN = b"0123456789abcdef"
NOT_NOW = ("BUSY ", "LOADING ", "MASTERDOWN ")
_CLIENT_ID = encode_request([b"CLIENT", b"ID"])


class Permissions(Protocol):
    """The part of ``RedisCodec`` that is used here."""

    def permission_refusal(self, name: str, needed: bool) -> str:
        """Why the pool's configuration refuses a command; empty if it does not."""


class RedisHandshake(Handshake):
    """The handshake of connections of one pool."""

    def __init__(self, permissions: Permissions) -> None:
        self._permissions = permissions

    def steps(self, settings: Settings, profile: int) -> list[tuple[str, bytes]]:
        steps = []
        database = database_of(profile, settings)
        if settings.redis_auth:
            steps.append((AUTH_STEP, encode_request([b"AUTH", settings.redis_auth.encode()])))
        if profile & RESP3_PROFILE:
            steps.append((HELLO_STEP, encode_request([b"HELLO", b"3"])))
        if database != settings.redis_db:
            steps.append((OTHER_DATABASE_STEP, self.select(settings, profile)))
        elif database:
            steps.append((f"SELECT {database}", self.select(settings, profile)))
        if profile & SCRIPTS_PROFILE:
            steps.append((ECHO_STEP, encode_request([b"ECHO", FIRST_TOKEN])))
        return steps

    def problem(self, step: str, reply: bytes) -> str:
        if not reply.startswith(b"-"):
            right = step != ECHO_STEP or reply == bulk(FIRST_TOKEN)
            return "" if right else "the reply is not what was sent"
        text = reply[1:].rstrip().decode("utf-8", "replace")
        # A server without a password needs none: the connection is as good as authenticated.
        if step == AUTH_STEP and ("without any password configured" in text or "no password is set" in text):
            return ""
        return text

    def declines_profile(self, step: str, problem: str) -> bool:
        return step in (HELLO_STEP, OTHER_DATABASE_STEP, ECHO_STEP) and not problem.startswith(NOT_NOW)

    def with_database(self, settings: Settings, profile: int, other: int) -> int:
        database = database_of(other, settings)
        return profile_of(3 if profile & RESP3_PROFILE else 2, database, bool(profile & SCRIPTS_PROFILE), settings)

    def select(self, settings: Settings, profile: int) -> bytes:
        return encode_request([b"SELECT", b"%d" % database_of(profile, settings)])

    def connection_id(self) -> bytes:
        return _CLIENT_ID

    def may_unblock(self) -> bool:
        return not self._permissions.permission_refusal("client|unblock", True)

    def unblock(self, identity: bytes) -> bytes:
        if not identity.startswith(b":"):
            return b""
        return encode_request([b"CLIENT", b"UNBLOCK", identity[1:-2], b"ERROR"])

    def is_unblocked(self, reply: bytes) -> bool:
        return reply.startswith(b"-UNBLOCKED ")

    def probe(self) -> bytes:
        return encode_request([b"PING"])

    def is_well(self, reply: bytes) -> bool:
        return reply == b"+PONG\r\n"
