"""What the jobs share: their arguments, and how they look at a refusal.

A job is called as ``job HOST PORT SERVERS``, SERVERS being how many servers are behind that port. It ends with status 0
when everything went as it should. With one server everything works. With more of them some things cannot; then the
error has to say what would help.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

HOST, PORT, SERVERS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
URL = f"redis://{HOST}:{PORT}/0"


@contextmanager
def refused_by_several(remedy: str) -> Iterator[None]:
    """What is done in here works with one server; with several it raises an error in whose text the remedy stands."""
    if SERVERS == 1:
        yield
        return
    try:
        yield
    except Exception as error:
        # The asyncio pipeline of redis-py 6 puts the words "{exception.args}" in the place of the text.
        if remedy not in str(error) and "{exception.args}" not in str(error):
            raise AssertionError(f"{type(error).__name__} does not say {remedy!r}: {error}") from error
    else:
        raise AssertionError(f"{SERVERS} servers did what only one can do; {remedy!r} was to be the remedy")
