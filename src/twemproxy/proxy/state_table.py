"""States and their transitions as data, from which checks, tests and the diagrams in docs/architecture.md are made.

Compiled-only. One module for each kind of object has its states and their table.
"""

from typing import NamedTuple

import cython


class Transition(NamedTuple):
    """A state may change from ``before`` to ``after``. ``event``: when that happens."""

    before: int
    after: int
    event: str


@cython.final
@cython.cclass
class StateTable:
    """The states of one kind of object, up to 16. The first one, 0, is that of a new object."""

    def __init__(self, states, transitions) -> None:
        """``states``: an IntEnum. ``transitions``: a list of Transition; a state may always follow itself."""
        self.states = states
        self.transitions = tuple(transitions)
        for state in states:
            self.masks[state] = 1 << state
        for before, after, _ in transitions:
            self.masks[before] |= 1 << after

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def check(self, before: cython.int, after: cython.int) -> cython.int:
        """Raise AssertionError if the table has no such transition."""
        if not (self.masks[before] >> after) & 1:
            raise AssertionError(f"{self.states(before).name} cannot become {self.states(after).name}")
        return 0

    def allows(self, before: int, after: int) -> bool:
        """Whether the table has this transition."""
        return bool((self.masks[before] >> after) & 1)

    def diagram(self) -> str:
        """The table as a Mermaid state diagram."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.states(0).name}"]
        for before, after, event in self.transitions:
            lines.append(f"    {self.states(before).name} --> {self.states(after).name}: {event}")
        return "\n".join(lines)
