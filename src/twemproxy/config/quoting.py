"""How messages show texts of the configuration file."""

import json
import re
from typing import Final

_SHOWN: Final = 60
"""Most characters of a text that a message shows."""


_plain = re.compile(r"[\w.:/|-]+", re.ASCII)


def quoted(text: str) -> str:
    """Return a text of the file for a message: in double quotes, cut after _SHOWN characters.

    Characters that are not printable are escaped.
    """
    return _escaped(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def quoted_if_needed(text: str) -> str:
    """Return a whole text of the file for a message: as it is if it is one plain word, otherwise as in ``quoted``."""
    return text if _plain.fullmatch(text) else _escaped(text)


def printable(text: str) -> str:
    """Return a text without quotes, in which characters that are not printable are escaped."""
    return "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in text)


def _escaped(text: str) -> str:
    return printable(json.dumps(text, ensure_ascii=False))
