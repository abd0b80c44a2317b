"""Listening sockets. The supervisor opens and keeps them; the workers accept clients from them."""

import os
import socket
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from twemproxy.config.addresses import AddressError, resolve_listen
from twemproxy.config.pools import Address, Config, PoolConfig
from twemproxy.supervisor.errors import StartError
from twemproxy.supervisor.inheritance import Inheritance, InheritedListener

_EVERY_PERMISSION: Final = 0o777
_OWNER_ONLY: Final = 0o600
_CONTROL_BACKLOG: Final = 16


class Listener:
    """One non-blocking listening stream socket."""

    def __init__(self, address: Address, *, backlog: int, permission: int = 0, reuse_port: bool = False) -> None:
        """Bind the socket and listen.

        ``permission``: mode of a unix socket; 0: the mode that the umask leaves. ``backlog``: the argument of
        listen(2). If the path of a unix socket exists, a socket file there is replaced, and any other file is an error.
        Raises OSError, or AddressError if the host has no address.
        """
        self._path = ""
        self._file = (0, 0)
        self._reuse_port = reuse_port
        self.adopted = False
        """Whether another process has made the socket."""
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

    @classmethod
    def adopt(cls, listening: socket.socket) -> "Listener":
        """A listener with a socket that another process has made, which also owns the file of a unix socket."""
        self = cls.__new__(cls)
        self._path = ""
        self._file = (0, 0)
        self._reuse_port = False
        self.adopted = True
        self.socket = listening
        listening.setblocking(False)
        return self

    @classmethod
    def take_over(cls, inherited: InheritedListener) -> "Listener":
        """A listener of another version of the program, which has passed its socket to this process."""
        self = cls.adopt(socket.socket(fileno=inherited.descriptor))
        self._path, self._file = inherited.path, inherited.file
        self._reuse_port, self.adopted = inherited.reuse_port, inherited.adopted
        return self

    def inheritance(self) -> InheritedListener:
        """What another version of the program needs to go on with it."""
        return InheritedListener(self.socket.fileno(), self._path, self._file, self._reuse_port, self.adopted)

    def share_port(self, shared: bool) -> None:
        """Let other sockets listen on the port, too, for a while; False: only if ``reuse_port`` says so."""
        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared or self._reuse_port)

    def set_options(self, *, backlog: int, permission: int, reuse_port: bool) -> None:
        """Change the options of the open socket; see the constructor. Permission 0 leaves the mode as it is."""
        self._reuse_port = reuse_port
        self.socket.listen(backlog)
        self.share_port(False)
        if self._path and permission:
            with suppress(OSError):
                if _identity(self._path) == self._file:
                    os.chmod(self._path, permission)

    def close(self) -> None:
        """Close the socket, and remove the file of a unix socket unless another file has replaced it."""
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
            # Linux creates the file with the mode of the socket. A chmod would be too late, or change another file.
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


class PoolListeners:
    """The listening sockets of the pools: one per address."""

    def __init__(self, passed: Sequence[socket.socket] = ()) -> None:
        """``passed``: listening sockets that are used for pools with their addresses, see ``service_manager``."""
        self._listeners: dict[Address, Listener] = {}
        self._passed = list(passed)

    def open(self, config: Config) -> list[Address]:
        """Listen on the addresses of this configuration; returns those that were not open before.

        ``backlog``, ``reuseport`` and permissions of open sockets stay until ``keep``. Raises StartError, and then
        nothing has changed.
        """
        opened: list[Address] = []
        for pool in config.pools:
            address = pool.listen.address
            if address in self._listeners:
                continue
            try:
                self._listeners[address] = self._listen(pool)
            except StartError:
                self.close(opened)
                raise
            opened.append(address)
        return opened

    def descriptors(self, addresses: Sequence[Address]) -> list[int]:
        """The descriptors of the sockets on these addresses."""
        return [self._listeners[address].socket.fileno() for address in addresses]

    def keep(self, config: Config) -> None:
        """Close the sockets that this configuration does not have, and give the others its options."""
        self.close(self._listeners.keys() - {pool.listen.address for pool in config.pools})
        for pool in config.pools:
            listener = self._listeners[pool.listen.address]
            listener.set_options(backlog=pool.backlog, permission=pool.listen.permission, reuse_port=pool.reuseport)

    def close(self, addresses: Iterable[Address]) -> None:
        """Close the sockets on these addresses; those that were passed are kept for later configurations."""
        for address in addresses:
            listener = self._listeners.pop(address)
            if listener.adopted:
                self._passed.append(listener.socket)
            else:
                listener.close()

    def close_all(self) -> None:
        """Close all sockets."""
        self.close(list(self._listeners))
        for listening in self._passed:
            listening.close()

    def take_over(self, inheritance: Inheritance) -> None:
        """Go on with the sockets of another version of the program."""
        self._listeners = {address: Listener.take_over(each) for address, each in inheritance.pools}
        self._passed = [socket.socket(fileno=descriptor) for descriptor in inheritance.passed]

    def inheritance(self) -> tuple[tuple[Address, InheritedListener], ...]:
        """What another version of the program needs to go on with the sockets of the pools."""
        return tuple((address, listener.inheritance()) for address, listener in self._listeners.items())

    def passed(self) -> tuple[int, ...]:
        """The descriptors of passed sockets that no pool uses."""
        return tuple(listening.fileno() for listening in self._passed)

    def unused(self) -> list[str]:
        """The addresses of passed sockets that no pool uses."""
        return [str(listening.getsockname()) for listening in self._passed]

    def _listen(self, pool: PoolConfig) -> Listener:
        """A socket for the pool. One at another address of the same port may be open: it may be about to be closed."""
        passed = self._take_passed(pool)
        if passed is not None:
            return Listener.adopt(passed)
        port = pool.listen.address.port
        same_port = [each for at, each in self._listeners.items() if port and at.port == port]
        for listener in same_port:
            listener.share_port(True)
        try:
            return listen_on(pool, share_port=bool(same_port))
        finally:
            for listener in same_port:
                listener.share_port(False)

    def _take_passed(self, pool: PoolConfig) -> socket.socket | None:
        """The passed socket with the address of the pool, None if there is none."""
        if not self._passed:
            return None
        try:
            family, where = resolve_listen(pool.listen.address)
        except AddressError as error:
            raise StartError(f"pool '{pool.name}': listen on '{pool.listen.text}' failed: {_reason(error)}") from error
        for listening in self._passed:
            if listening.family == family and listening.getsockname() == where:
                self._passed.remove(listening)
                return listening
        return None


def listen_on(pool: PoolConfig, *, share_port: bool = False) -> Listener:
    """Open the listener of a pool and return it. Raises StartError.

    ``share_port``: even if another socket of this process listens on the port, see ``Listener.share_port``.
    """
    listen = pool.listen
    reuse_port = pool.reuseport or share_port
    try:
        return Listener(listen.address, backlog=pool.backlog, permission=listen.permission, reuse_port=reuse_port)
    except (OSError, ValueError) as error:
        raise StartError(f"pool '{pool.name}': listen on '{listen.text}' failed: {_reason(error)}") from error


def listen_for_stats(address: str, port: int) -> Listener:
    """Open the listener of the statistics port and return it.

    ``address``: a host, to be used with ``port``, or the absolute path of a unix socket. Raises StartError.
    """
    is_path = address.startswith("/")
    where = Address(path=address) if is_path else Address(host=address, port=port)
    try:
        return Listener(where, backlog=socket.SOMAXCONN)
    except (OSError, ValueError) as error:
        text = address if is_path else f"{address}:{port}"
        raise StartError(f"statistics: listen on '{text}' failed: {_reason(error)}") from error


def listen_for_control(path: str) -> Listener:
    """Open the listener of the control socket, which only its owner can use, and return it. Raises StartError."""
    try:
        return Listener(Address(path=path), backlog=_CONTROL_BACKLOG, permission=_OWNER_ONLY)
    except (OSError, ValueError) as error:
        raise StartError(f"control socket: listen on '{path}' failed: {_reason(error)}") from error


def _identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _reason(error: BaseException) -> str:
    if isinstance(error, AddressError) and error.__cause__:
        error = error.__cause__
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
