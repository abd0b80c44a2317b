"""CLIENT MAINT_NOTIFICATIONS, and the message MOVING: a client is told to connect again before its connection ends.

Formats are those of Redis Software. The proxy never names another address: the message has a null in its place. A
client then connects once more to the address that it has, after half of the given seconds and between two requests.
"""

from twemproxy.protocol.redis.errors import SYNTAX_ERROR, error_reply
from twemproxy.protocol.redis.resp_encoder import OK, bulk, integer, null
from twemproxy.protocol.redis.session import Session

NO_ENDPOINT = b"none"
"""The type of endpoint of a client that wants no address."""

_ENDPOINT_TYPES = (b"internal-ip", b"internal-fqdn", b"external-ip", b"external-fqdn", NO_ENDPOINT)
"""What clients may want to get as the address."""

_ACCEPT_NULL = (b"redis-py", b"go-redis", b"lettuce")
"""Beginnings of the names of libraries, in lower case, that accept a null although they ask for an address.

By default they ask for an address. node-redis does so, too, and a null that it has not asked for ends its process.
"""

_NEEDS_VERSION_3 = "ERR MAINT_NOTIFICATIONS needs version 3 of the protocol: send HELLO 3 first"
_UNKNOWN_TYPE = "ERR Invalid moving-endpoint-type '{shown}': it is one of {types}"


def maint_notifications(arguments: list[bytes], session: Session) -> bytes:
    """CLIENT MAINT_NOTIFICATIONS ON [moving-endpoint-type TYPE] | OFF."""
    mode, options = arguments[2].upper(), arguments[3:]
    if mode == b"OFF" and not options:
        session.endpoint_type = b""
        return OK
    if mode != b"ON" or (options and (len(options) != 2 or options[0].lower() != b"moving-endpoint-type")):
        return error_reply(SYNTAX_ERROR)
    wanted = options[1].lower() if options else NO_ENDPOINT
    if wanted not in _ENDPOINT_TYPES:
        shown = wanted[:128].decode("utf-8", "replace")
        return error_reply(_UNKNOWN_TYPE.format(shown=shown, types=b", ".join(_ENDPOINT_TYPES).decode()))
    if session.protocol != 3:
        return error_reply(_NEEDS_VERSION_3)
    # One object for all clients.
    session.endpoint_type = _ENDPOINT_TYPES[_ENDPOINT_TYPES.index(wanted)]
    return OK


def moving(session: Session, number: int, seconds: int) -> bytes:
    """The message that tells a client to connect again within ``seconds``; empty if the client is not to be told.

    ``number``: of the event; a library heeds one message for each number.
    """
    if session.protocol != 3 or not session.endpoint_type:
        return b""
    if session.endpoint_type != NO_ENDPOINT and not session.library.lower().startswith(_ACCEPT_NULL):
        return b""
    return b">4\r\n" + bulk("MOVING") + integer(number) + integer(seconds) + null(3)
