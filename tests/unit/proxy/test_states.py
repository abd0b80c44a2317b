"""The tables of states, as data: each state can be reached and left, and what the tables do not have is refused."""

from itertools import product
from typing import Any

import pytest

from twemproxy.downstream import client_states
from twemproxy.upstream import connection_states, health_states
from twemproxy.upstream.roles import ROLES

TABLES: dict[str, Any] = {
    "client": client_states.TABLE,
    "connection": connection_states.TABLE,
    "server": health_states.TABLE,
}


@pytest.fixture(params=list(TABLES.values()), ids=list(TABLES))
def table(request: pytest.FixtureRequest) -> Any:
    return request.param


def reachable(table: Any, start: int) -> set[int]:
    found = {start}
    for _ in table.states:
        found |= {after for before, after, _ in table.transitions if before in found}
    return found


def test_every_state_can_be_reached_and_left(table: Any) -> None:
    """But a closed client, which does not open again, and a removed server, which does not return."""
    first, *_ = table.states
    assert reachable(table, first) == set(table.states)
    for state in table.states:
        final = state.name == "REMOVED" or (table is TABLES["client"] and state.name != "OPEN")
        assert (reachable(table, state) == set(table.states)) != final


def test_a_client_only_goes_on_towards_its_end() -> None:
    assert all(before < after for before, after, _ in TABLES["client"].transitions)


def test_a_transition_is_in_the_table_once_and_has_an_event(table: Any) -> None:
    pairs = [(before, after) for before, after, _ in table.transitions]
    assert len(set(pairs)) == len(pairs)
    assert all(before != after and event for before, after, event in table.transitions)


def test_only_the_transitions_of_the_table_are_allowed(table: Any) -> None:
    pairs = {(before, after) for before, after, _ in table.transitions}
    for before, after in product(table.states, repeat=2):
        assert table.allows(before, after) == (before == after or (before, after) in pairs)


def test_a_diagram_has_all_transitions(table: Any) -> None:
    lines = table.diagram().splitlines()
    assert lines[:2] == ["stateDiagram-v2", f"    [*] --> {next(iter(table.states)).name}"]
    assert len(lines) == 2 + len(table.transitions)


def test_a_connection_fails_from_any_state_but_handshakes_only_when_connected() -> None:
    table = TABLES["connection"]
    states = table.states
    assert all(table.allows(state, states.CLOSED) for state in states)
    assert {state for state in states if table.allows(state, states.READY)} == {states.HANDSHAKE, states.READY}


def test_every_role_has_its_policy() -> None:
    roles: Any = type(next(iter(ROLES)))
    assert set(ROLES) == set(roles)
    assert [role.name for role, policy in ROLES.items() if policy.independent] == ["SHARED"]
    assert [role.name for role, policy in ROLES.items() if not policy.counts] == ["PROBE"]
    assert {policy.stands_in for policy in ROLES.values() if policy.patient} == {False}
