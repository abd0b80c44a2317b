"""Host names with addresses that the test decides."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from harness.proxy import python_under_test
from harness.waiting import wait_until

_PROGRAM = Path(__file__).with_name("look_up_in_file.py")


class Names:
    """A simulated name server, empty at first, for a proxy that is started with ``command``."""

    def __init__(self, directory: Path) -> None:
        """``directory``: the folder for its files."""
        self._file = directory / "names"
        self._asked = directory / "asked"
        self._asked.touch()
        self._addresses: dict[str, Sequence[str]] = {}
        self._state = "up"
        self._write()

    def set(self, name: str, *addresses: str) -> None:
        """Set the IPv4 addresses of the name; without addresses the name does not exist."""
        self._addresses[name] = addresses
        self._write()

    def go(self, state: Literal["up", "down", "silent"]) -> None:
        """From now on answer (up), answer with an error (down), or do not answer until the state changes (silent)."""
        self._state = state
        self._write()

    def _write(self) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps([self._state, self._addresses]))
        new.replace(self._file)

    def command(self) -> list[str]:
        """The command line of the proxy under test that looks names up here."""
        return [*python_under_test(), "-P", str(_PROGRAM), str(self._file), str(self._asked)]

    def wait_asked(self, times: int = 1) -> None:
        """Wait until ``times`` more look-ups have begun."""
        wanted = self._asked.stat().st_size + times
        wait_until(lambda: self._asked.stat().st_size >= wanted, "a name is looked up")
