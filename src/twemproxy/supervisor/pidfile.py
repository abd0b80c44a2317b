"""The pid file (option -p): the process id in decimal digits, without a newline."""

import os
from contextlib import suppress
from typing import Final

from twemproxy.supervisor.errors import StartError

_MODE: Final = 0o644


class PidFile:
    """A file with the id of this process, which exists until ``remove``."""

    def __init__(self, path: str, *, exists: bool = False) -> None:
        """Write the file; an existing file is overwritten. Raises StartError.

        ``exists``: this process has written it before it became another version of the program.
        """
        self.path = os.path.abspath(path)
        self._content = str(os.getpid()).encode()
        if exists:
            return
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
            try:
                os.write(descriptor, self._content)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StartError(f"opening pid file '{path}' failed: {error.strerror}") from error

    def remove(self) -> None:
        """Remove the file, unless another process has written its own id to it."""
        with suppress(OSError):
            with open(self.path, "rb") as file:
                ours = file.read() == self._content
            if ours:
                os.unlink(self.path)
