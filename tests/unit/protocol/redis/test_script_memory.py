"""The memory of scripts, and what it makes of an EVALSHA."""

import hashlib
import sys
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.resp import command, error
from twemproxy.protocol.redis import scripts
from twemproxy.protocol.redis.scripts import MOST_BYTES, OVERHEAD, ScriptMemory

NOSCRIPT = error("NOSCRIPT No matching script. Please use EVAL.")


def digest(body: bytes) -> bytes:
    """What servers call a script."""
    return hashlib.sha1(body).hexdigest().encode()


def size(memory: ScriptMemory) -> int:
    """What all its scripts take."""
    return sum(len(body) + OVERHEAD for body in memory._bodies.values())


def knows(memory: ScriptMemory, body: bytes) -> bool:
    """Whether an EVALSHA of this script is repaired."""
    return bool(memory.repaired(command("EVALSHA", digest(body), "0"), NOSCRIPT))


@given(st.binary(max_size=50), st.lists(st.binary(max_size=10), max_size=5))
def test_an_evalsha_becomes_the_eval(body: bytes, rest: list[bytes]) -> None:
    memory = ScriptMemory()
    memory.remember(body)
    for name, by_body in [("EVALSHA", "eval"), ("evalsha", "eval"), ("EvalSha_RO", "eval_ro")]:
        for written in (digest(body), digest(body).upper()):
            assert memory.repaired(command(name, written, *rest), NOSCRIPT) == command(by_body, body, *rest)


@pytest.mark.parametrize("name", ["EVAL", "eval", "EVAL_RO"])
def test_evals_are_noted(name: str) -> None:
    memory = ScriptMemory()
    memory.note(command(name, "return 1", "1", "k"))
    assert knows(memory, b"return 1")
    assert not knows(memory, b"return 2")


def test_only_what_brings_a_body_is_noted() -> None:
    memory = ScriptMemory()
    memory.note(command("EVALSHA", "return 1", "1", "k"))
    assert not knows(memory, b"return 1")


@pytest.mark.parametrize(
    "reply",
    [error("ERR NOSCRIPT"), error("OOM no memory"), b"+NOSCRIPT\r\n", b"$9\r\n-NOSCRIPT\r\n", error("WRONGTYPE x")],
)
def test_other_replies_stay(reply: bytes) -> None:
    memory = ScriptMemory()
    memory.remember(b"return 1")
    assert memory.repaired(command("EVALSHA", digest(b"return 1"), "0"), reply) == b""


@pytest.mark.parametrize("name", ["EVAL", "EVAL_RO"])
def test_an_eval_has_no_other_form(name: str) -> None:
    """Its own script may say NOSCRIPT."""
    memory = ScriptMemory()
    memory.note(command(name, "return 1", "0"))
    assert memory.repaired(command(name, "return 1", "0"), NOSCRIPT) == b""
    assert memory.repaired(command(name, digest(b"return 1"), "0"), NOSCRIPT) == b""


@pytest.mark.parametrize("name", [b"", b"x", b"0" * 39, b"0" * 41, b"\xff" * 40, b"return 1"])
def test_a_digest_that_is_not_known(name: bytes) -> None:
    memory = ScriptMemory()
    memory.remember(b"return 1")
    assert memory.repaired(command("EVALSHA", name, "0"), NOSCRIPT) == b""


def test_forgetting() -> None:
    memory = ScriptMemory()
    memory.remember(b"return 1")
    memory.forget()
    assert not knows(memory, b"return 1")
    assert memory._size == 0
    memory.remember(b"return 1")
    assert knows(memory, b"return 1")


def test_the_oldest_are_forgotten_when_there_are_too_many() -> None:
    memory = ScriptMemory()
    bodies = [b"%d" % number + b" " * (MOST_BYTES // 4 - OVERHEAD - 1) for number in range(5)]
    for body in bodies[:4]:
        memory.remember(body)
    assert all(knows(memory, body) for body in bodies[:4])
    memory.remember(bodies[0])
    memory.remember(bodies[4])
    assert [knows(memory, body) for body in bodies] == [True, False, True, True, True]
    assert memory._size == size(memory) <= MOST_BYTES


def test_a_script_that_is_too_long_costs_no_other() -> None:
    memory = ScriptMemory()
    memory.remember(b"return 1")
    longest = b"x" * (MOST_BYTES - OVERHEAD)
    memory.remember(longest + b"x")
    assert knows(memory, b"return 1")
    assert not knows(memory, longest + b"x")
    memory.remember(longest)
    assert [knows(memory, body) for body in (b"return 1", longest)] == [False, True]


@given(st.lists(st.integers(0, 40), max_size=60))
def test_the_size_is_that_of_what_is_remembered(numbers: list[int]) -> None:
    memory = ScriptMemory()
    with patch.object(scripts, "MOST_BYTES", 10 * OVERHEAD):
        for number in numbers:
            memory.remember(b"x" * (number * OVERHEAD // 3))
            assert memory._size == size(memory) <= 10 * OVERHEAD


def test_many_small_scripts_are_bounded_as_well() -> None:
    """A script costs more than the bytes of its body."""
    memory = ScriptMemory()
    for number in range(100_000):
        memory.remember(b"%d" % number)
    assert len(memory._bodies) <= MOST_BYTES // OVERHEAD
    name, body = next(iter(memory._bodies.items()))
    assert sys.getsizeof(name) + sys.getsizeof(body) < OVERHEAD - 100, "there is room for what a dictionary needs"
