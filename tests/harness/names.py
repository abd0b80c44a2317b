"""Host names whose addresses are the test's."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from harness.proxy import under_test
from harness.waiting import wait_until

_PROGRAM = Path(__file__).with_name("look_up_in_file.py")


class Names:
    """What a name server knows, at first nothing, for a proxy that is run by ``command``."""

    def __init__(self, directory: Path) -> None:
        """``directory``: for its files."""
        self._file = directory / "names"
        self._asked = directory / "asked"
        self._asked.touch()
        self._addresses: dict[str, Sequence[str]] = {}
        self._state = "up"
        self._write()

    def set(self, name: str, *addresses: str) -> None:
        """The name has these IPv4 addresses from now on; without any there is no such name."""
        self._addresses[name] = addresses
        self._write()

    def go(self, state: Literal["up", "down", "silent"]) -> None:
        """Answer from now on, or with an error, or not until it is something else again."""
        self._state = state
        self._write()

    def _write(self) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps([self._state, self._addresses]))
        new.replace(self._file)

    def command(self) -> list[str]:
        """The proxy under test, looking names up here."""
        command = under_test()
        assert command[-2:] == ["-m", "twemproxy"], "only look-ups of this package can be replaced"
        return [*command[:-2], "-P", str(_PROGRAM), str(self._file), str(self._asked)]

    def wait_asked(self, times: int = 1) -> None:
        """Wait until so many more look-ups have begun."""
        wanted = self._asked.stat().st_size + times
        wait_until(lambda: self._asked.stat().st_size >= wanted, "a name is looked up")
