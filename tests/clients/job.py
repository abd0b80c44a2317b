"""Shared by the jobs: their arguments, and the check of a refusal.

A job is called as ``job HOST PORT SERVERS``, where SERVERS is the number of servers behind that port. It ends with
status 0 if everything happens as expected. With one server everything works. With several servers some things cannot
work; then the error must name the remedy.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

HOST, PORT, SERVERS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
URL = f"redis://{HOST}:{PORT}/0"


@contextmanager
def refused_by_several(remedy: str) -> Iterator[None]:
    """The body works with one server; with several servers it raises an error whose text contains the remedy."""
    if SERVERS == 1:
        yield
        return
    try:
        yield
    except Exception as error:
        # The asyncio pipeline of redis-py 6 puts the words "{exception.args}" in place of the text.
        if remedy not in str(error) and "{exception.args}" not in str(error):
            raise AssertionError(f"{type(error).__name__} does not say {remedy!r}: {error}") from error
    else:
        raise AssertionError(f"{SERVERS} servers did what only one can do; {remedy!r} was to be the remedy")
