"""The table of cases holds what the product promises, once each."""

import pytest
from benchmarks.cases import CASES, KEY_SPACES, NOT_BEHIND, Case, Target, select

PROMISED = {
    "3 B, pipeline 1, 50 clients": Target(0.85, 1.0),
    "3 B, pipeline 1, 500 clients": Target(0.75, 1.0),
    "3 B, pipeline 16, 50 clients": Target(0.28, 1.5),
    "3 B, pipeline 100, 50 clients": Target(0.10, 2.5),
    "3 B, pipeline 100, 500 clients": Target(0.10, 2.5),
    "16 KB, pipeline 16, 50 clients": Target(0.60, 1.0),
}


def test_names_are_unique_and_the_table_is_complete() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) == 2 * 3 * 3 * 3 + 2 * 3


@pytest.mark.parametrize(("shape", "target"), PROMISED.items())
def test_a_promise_holds_for_get_and_set(shape: str, target: Target) -> None:
    assert {case.name: case.target for case in CASES if case.name.endswith(shape)} == {
        f"GET {shape}": target,
        f"SET {shape}": target,
    }


def test_only_promised_cases_have_a_target_of_their_own() -> None:
    own = {case.name for case in CASES if case.target != NOT_BEHIND}
    singles = {f"{operation} {shape}" for operation in ("GET", "SET") for shape in PROMISED}
    assert own == singles | {"MGET 100 keys, pipeline 1, 50 clients"}


def test_the_default_run_has_every_case_with_a_target_and_is_a_part_of_the_full_one() -> None:
    chosen = select(full=False, substrings=[])
    assert {case for case in CASES if case.target != NOT_BEHIND} <= set(chosen)
    assert len(chosen) < len(select(full=True, substrings=[])) == len(CASES)


def test_substrings_choose_from_the_whole_table_in_its_order() -> None:
    chosen = select(full=False, substrings=["mset 10 ", "get 1 kb, pipeline 16, 1 "])
    assert [case.name for case in chosen] == [
        "GET 1 KB, pipeline 16, 1 client",
        "MSET 10 keys, pipeline 1, 50 clients",
    ]
    assert select(full=True, substrings=["no such case"]) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request_has_the_keys_and_values_that_its_reply_belongs_to(case: Case) -> None:
    arguments, reply = case.arguments(), case.reply()
    keys = [argument for argument in arguments if argument.endswith(b":__rand_int__")]
    values = [argument for argument in arguments[1:] if set(argument) == set(b"x")]
    assert len(keys) == case.keys
    assert case.value_size in KEY_SPACES
    if arguments[0] in (b"SET", b"MSET"):
        assert [len(value) for value in values] == [case.value_size] * case.keys
        assert reply == b"+OK\r\n"
    else:
        assert not values
        assert reply.count(b"$%d\r\n" % case.value_size) == case.keys
