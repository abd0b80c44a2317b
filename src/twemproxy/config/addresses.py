"""Parsers for the addresses of a configuration: ``listen`` and the entries of ``servers``.

Pure functions from text to ``config.pools`` data, except ``resolve_listen``, which calls the system's resolver.
"""

import re
import socket
from typing import Final, cast

from twemproxy.config.numbers import NUMBER_MAXIMUM, parse_number
from twemproxy.config.pools import Address, ListenConfig, ServerConfig

UNIX_PATH_LIMIT: Final = 108
"""Most bytes of a unix socket's path, including the terminating NUL."""

LIBMEMCACHED_PORT: Final = 11211
"""The default name of a server with this port is its host alone, as in libmemcached."""

_PORT_MAXIMUM: Final = 65535
_MODE_MAXIMUM: Final = 0o777

_LISTEN_FORMAT: Final = '"hostname:port" format string'
_MODE_FORMAT: Final = '"socket_path permission" format string'
_SERVER_FORMAT: Final = '"hostname:port:weight [name]" format string'
_SHAPE_FORMAT: Final = '"hostname:port:weight [name]"or "/path/unix_socket:weight [name]" format string'

_octal = re.compile(r"[ \t\n\v\f\r]*([+-]?)([0-7]+)")

SocketAddress = str | tuple[str, int] | tuple[str, int, int, int]
"""An argument of ``socket.bind``: a path, an IPv4 address or an IPv6 address."""


class AddressError(ValueError):
    """The text is not a valid address. The message is the reason, to be placed after the name of the directive."""


def parse_listen(text: str) -> ListenConfig:
    """Parse ``host:port`` or ``/path [octal mode]``; the host is not resolved. Raises AddressError."""
    if text.startswith("/"):
        return _parse_unix_listen(text)
    host, colon, port_text = text.rpartition(":")
    if not colon or "\0" in text:
        raise AddressError(f"has an invalid {_LISTEN_FORMAT}")
    port = _port(port_text, _LISTEN_FORMAT)
    return ListenConfig(text=text, address=Address(host=host, port=port))


def _parse_unix_listen(text: str) -> ListenConfig:
    path, space, mode_text = text.rpartition(" ")
    if not space:
        path, mode_text = text, ""
    if "\0" in path or len(path.encode()) >= UNIX_PATH_LIMIT:
        raise AddressError("has an invalid value")
    return ListenConfig(text=text, address=Address(path=path), permission=_mode(mode_text))


def _mode(text: str) -> int:
    """Parse a file mode as C's strtol in base 8: leading octal digits count; without any, the mode is 0.

    Raises AddressError for a mode that is not between 0 and 0777.
    """
    match = _octal.match(text)
    mode = int(match[1] + match[2], 8) if match else 0
    if not 0 <= mode <= _MODE_MAXIMUM:
        raise AddressError(f"has an invalid file permission in {_MODE_FORMAT}")
    return mode


def _port(text: str, form: str) -> int:
    port = parse_number(text)
    if port is None or not 1 <= port <= _PORT_MAXIMUM:
        raise AddressError(f"has an invalid port in {form}")
    return port


def _weight(text: str) -> int:
    weight = parse_number(text)
    if weight is None:
        raise AddressError(f"has an invalid weight in {_SERVER_FORMAT}")
    if weight > NUMBER_MAXIMUM:
        raise AddressError(f"has an invalid weight above {NUMBER_MAXIMUM} in {_SERVER_FORMAT}")
    if weight == 0:
        raise AddressError(f"has a zero weight in {_SERVER_FORMAT}")
    return weight


def parse_server(text: str) -> ServerConfig:
    """Parse ``host:port:weight [name]`` or ``/path:weight [name]``, from the right. Raises AddressError.

    The default name is ``host:port`` as written, the host alone if the port is 11211, and for a unix socket the path
    and a colon.
    """
    pname, space, name = text.rpartition(" ")
    if not space:
        pname = text
    place, weight_colon, weight_text = pname.rpartition(":")
    host, port_colon, port_text = place.rpartition(":")
    is_unix = pname.startswith("/")
    if not weight_colon or bool(port_colon) == is_unix or "\0" in pname:
        raise AddressError(f"has an invalid {_SHAPE_FORMAT}")
    weight = _weight(weight_text)
    address = Address(path=place) if is_unix else Address(host=host, port=_port(port_text, _SERVER_FORMAT))
    return ServerConfig(
        name=name if space else default_name(pname, address), pname=pname, address=address, weight=weight
    )


def default_name(pname: str, address: Address) -> str:
    """Return the name of a server whose entry has none. ``pname``: the entry as written, without a name."""
    place = pname.rpartition(":")[0]
    if address.path:
        return place + ":"
    return address.host if address.port == LIBMEMCACHED_PORT else place


def resolve_listen(address: Address) -> tuple[socket.AddressFamily, SocketAddress]:
    """Return the family and the numeric address to bind: the first result of getaddrinfo for the host.

    For a unix socket, the address is its path. Blocks while the resolver works. Raises AddressError if the host has no
    address.
    """
    if address.path:
        return socket.AF_UNIX, address.path
    try:
        # As bytes, the name bypasses Python's IDNA codec, which refuses names that the resolver may accept.
        found = socket.getaddrinfo(
            address.host.encode(), address.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICSERV
        )
    except OSError as error:
        raise AddressError(
            f'has an invalid value: address resolution of node "{address.host}" '
            f'service "{address.port}" failed: {error.strerror}'
        ) from error
    family, _, _, _, resolved = found[0]
    return family, cast(SocketAddress, resolved)
