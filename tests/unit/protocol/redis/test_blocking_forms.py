"""The rest of the timeout of a blocking command that is asked again."""

import pytest

from harness.resp import command
from twemproxy.protocol.redis.blocking import TIMEOUTS, after_waiting
from twemproxy.protocol.redis.commands import COMMAND_INFO

A_SECOND = 1_000_000


def test_every_command_that_waits_for_keys() -> None:
    """WAIT and WAITAOF have no keys."""
    waiting = {name for name, info in COMMAND_INFO.items() if "blocking" in info.flags}
    assert waiting - {"wait", "waitaof"} == set(TIMEOUTS)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("BLPOP a b 10", "BLPOP a b 9.000"),
        ("brpop a 0", "brpop a 0"),
        ("BRPOP a 0.0", "BRPOP a 0.0"),
        ("BRPOPLPUSH a b 1.5", "BRPOPLPUSH a b 0.500"),
        ("BLMOVE a b LEFT RIGHT 1", "BLMOVE a b LEFT RIGHT 0.001"),
        ("BZPOPMIN a .5", "BZPOPMIN a 0.001"),
        ("BZPOPMAX a 1e3", "BZPOPMAX a 999.000"),
        ("BLMPOP 5 2 a b LEFT COUNT 9", "BLMPOP 4.000 2 a b LEFT COUNT 9"),
        ("BZMPOP 5 1 a MIN", "BZMPOP 4.000 1 a MIN"),
        ("BLMOVEM a b LEFT RIGHT 5", "BLMOVEM a b LEFT RIGHT 4.000"),
        ("XREAD BLOCK 1500 COUNT 1 STREAMS BLOCK $", "XREAD BLOCK 500 COUNT 1 STREAMS BLOCK $"),
        ("XREAD block 7 STREAMS a $", "XREAD block 1 STREAMS a $"),
        ("XREAD COUNT 1 BLOCK 0 STREAMS a 5-0", "XREAD COUNT 1 BLOCK 0 STREAMS a 5-0"),
        (
            "XREADGROUP GROUP BLOCK c BLOCK 3000 STREAMS a >",
            "XREADGROUP GROUP BLOCK c BLOCK 2000 STREAMS a >",
        ),
        ("BLPOP a nan", "BLPOP a nan"),
        ("BLPOP a 1_0", "BLPOP a 1_0"),
        ("BLPOP a -1", "BLPOP a -1"),
    ],
)
def test_after_a_second(before: str, after: str) -> None:
    """A timeout that is over becomes short, and not none; what is no timeout is for the server to reject."""
    name = before.split()[0].lower()
    assert after_waiting(name, command(*before.split()), A_SECOND) == command(*after.split())
