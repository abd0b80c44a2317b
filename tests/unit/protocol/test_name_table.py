"""Tables of words: each table finds exactly its own words."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.flavours import Load
from twemproxy.protocol.memcache.commands import COMMANDS as MEMCACHE_COMMANDS
from twemproxy.protocol.memcache.commands import WORDS
from twemproxy.protocol.redis.commands import COMMANDS as REDIS_COMMANDS

MakeTable = Callable[[Sequence[str], bool], Any]

_letters = st.characters(min_codepoint=0, max_codepoint=127)
_similar = st.text(alphabet="ab_", min_size=1, max_size=4)
names = st.lists(st.text(_letters, min_size=1, max_size=12) | _similar, max_size=60, unique=True)
lower_names = names.map(lambda some: sorted({name.lower() for name in some}))
others = st.binary(max_size=14) | st.text(alphabet="abAB_", max_size=5).map(str.encode)


@pytest.fixture(scope="session")
def table(flavour: Load) -> MakeTable:
    module = flavour("twemproxy.protocol.name_table")
    return lambda some, any_case: module.NameTable(some, any_case=any_case)


def neighbours(name: bytes) -> list[bytes]:
    """Words that are easily mistaken for a name."""
    return [name[:-1], name[1:], name + b"a", name + b"\0", b"a" + name, name + name, name[:-1] + b"\xe1", name + b" "]


@given(names=names, others=st.lists(others, max_size=10))
@example(names=["a"], others=[b"", b"\0"])
@example(names=[], others=[b"", b"a"])
@example(names=["ab", "b", "ba"], others=[b"abb", b"bab", b"AB"])
def test_exactly_the_names_are_found(table: MakeTable, names: list[str], others: list[bytes]) -> None:
    made = table(names, False)
    rows = {name.encode(): row for row, name in enumerate(names)}
    words = [*rows, *(word for name in rows for word in neighbours(name)), *others, b""]
    # Short names are kept when they are found.
    for word in [*words, *words]:
        assert made.row_of(word) == rows.get(word, -1)


@given(names=lower_names, others=st.lists(others, max_size=10), bits=st.integers(0, 2**12 - 1))
@example(names=["`", "{"], others=[b"@", b"["], bits=0)
def test_names_are_found_in_any_case(table: MakeTable, names: list[str], others: list[bytes], bits: int) -> None:
    made = table(names, True)
    rows = {name.encode(): row for row, name in enumerate(names)}
    for name in rows:
        mixed = bytes(byte - 32 if bits >> i & 1 and 97 <= byte <= 122 else byte for i, byte in enumerate(name))
        assert made.row_of(mixed) == made.row_of(name.upper()) == rows[name]
    words = [*(word for name in rows for word in neighbours(name)), *others, b""]
    for word in [*words, *words]:
        assert made.row_of(word) == rows.get(word.lower(), -1)


def test_case_matters_unless_told_otherwise(table: MakeTable) -> None:
    assert table(["get"], False).row_of(b"GET") == -1
    assert table(["GET"], False).row_of(b"get") == -1
    assert table(["get"], True).row_of(b"GeT") == 0


@pytest.mark.parametrize(
    "names",
    [
        [row.name for row in MEMCACHE_COMMANDS],
        [row.name for row in REDIS_COMMANDS],
        [row.name for row in WORDS],
        [f"{i:x}" for i in range(8192)],
    ],
    ids=["memcache", "redis", "words", "most"],
)
def test_long_tables(table: MakeTable, names: list[str]) -> None:
    made = table(names, False)
    rows = {name.encode(): row for row, name in enumerate(names)}
    assert [made.row_of(name) for name in rows] == list(range(len(names)))
    for name in rows:
        for word in neighbours(name):
            assert made.row_of(word) == rows.get(word, -1)


@settings(max_examples=50)
@given(names=names, others=st.lists(others, max_size=10))
def test_flavours_agree(
    both_flavours: Callable[[str], tuple[ModuleType, ModuleType]], names: list[str], others: list[bytes]
) -> None:
    fast, slow = (module.NameTable(names, any_case=True) for module in both_flavours("twemproxy.protocol.name_table"))
    for word in [*(name.encode() for name in names), *others]:
        assert fast.row_of(word) == slow.row_of(word)
