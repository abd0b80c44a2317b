"""Parses replies to INFO. Plain Python; source of the format: redis.io, "INFO"."""

from twemproxy.protocol.redis.resp_decoder import parse

Section = dict[str, str]
"""Values by name, in the server's order."""


def sections_of(reply: bytes) -> dict[str, Section]:
    """The sections of a server's reply, by the name in their heading. Raises ValueError if it is not text."""
    value = parse(reply)
    if not isinstance(value, bytes):
        raise ValueError("no text")
    found: dict[str, Section] = {}
    section: Section = {}
    for line in value.decode("utf-8", "replace").removeprefix("txt:").splitlines():
        if line.startswith("#"):
            section = found.setdefault(line[1:].strip(), {})
        elif ":" in line:
            name, _, told = line.partition(":")
            # A server has a line with the same name for each of its modules.
            section[line if name == "module" else name] = "" if name == "module" else told
    return found
