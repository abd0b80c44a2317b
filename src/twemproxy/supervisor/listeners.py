"""Listening sockets: made, bound and kept by the supervisor, whichever worker accepts from them."""

import os
import socket
import stat
from contextlib import suppress
from typing import Final

from twemproxy.config.addresses import AddressError, resolve_listen
from twemproxy.config.pools import Address, PoolConfig
from twemproxy.supervisor.errors import StartError

_EVERY_PERMISSION: Final = 0o777


class Listener:
    """One non-blocking listening stream socket."""

    def __init__(self, address: Address, *, backlog: int, permission: int = 0, reuse_port: bool = False) -> None:
        """Bind and listen.

        ``permission``: mode of a unix socket, 0 for what the umask gives. ``backlog``: as listen(2) takes it.
        A socket in the way of a unix socket is replaced, any other file is not. Raises OSError or, when the
        host has no address, AddressError.
        """
        self._path = ""
        self._file = (0, 0)
        family, where = resolve_listen(address)
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            if address.path:
                self._bind_path(address.path, permission)
            else:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if reuse_port:
                    self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                self.socket.bind(where)
            self.socket.listen(backlog)
            self.socket.setblocking(False)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the socket and remove the file of a unix socket, unless another's has taken its place."""
        if self._path:
            with suppress(OSError):
                if _identity(self._path) == self._file:
                    os.unlink(self._path)
            self._path = ""
        self.socket.close()

    def _bind_path(self, path: str, permission: int) -> None:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise FileExistsError(0, "the file at this path is not a socket")
            os.unlink(path)
        if permission:
            # Linux gives the file the mode of the socket. A chmod would come too late, and might meet another file.
            os.fchmod(self.socket.fileno(), permission)
            umask = os.umask(_EVERY_PERMISSION & ~permission)
            try:
                self.socket.bind(path)
            finally:
                os.umask(umask)
        else:
            self.socket.bind(path)
        self._path = os.path.abspath(path)
        self._file = _identity(path)


def listen_on_pool(pool: PoolConfig) -> Listener:
    """The listener of a pool. Raises StartError."""
    listen = pool.listen
    try:
        return Listener(listen.address, backlog=pool.backlog, permission=listen.permission, reuse_port=pool.reuseport)
    except (OSError, ValueError) as error:
        raise StartError(f"pool '{pool.name}': listen on '{listen.text}' failed: {_reason(error)}") from error


def listen_for_stats(address: str, port: int) -> Listener:
    """The listener of the statistics port: a host and the port, or the absolute path of a unix socket.

    Raises StartError.
    """
    is_path = address.startswith("/")
    where = Address(path=address) if is_path else Address(host=address, port=port)
    try:
        return Listener(where, backlog=socket.SOMAXCONN)
    except (OSError, ValueError) as error:
        text = address if is_path else f"{address}:{port}"
        raise StartError(f"statistics: listen on '{text}' failed: {_reason(error)}") from error


def _identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _reason(error: BaseException) -> str:
    if isinstance(error, AddressError) and error.__cause__:
        error = error.__cause__
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
