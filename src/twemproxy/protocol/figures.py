"""Merges figures of several servers into one: a table has the rule for each name.

Plain Python, for both protocols. Values are text as servers write it, and need not be valid numbers.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

Values = Sequence[str]
Rule = Callable[[Values], str | None]
"""Makes one value of the values of the servers that have the figure, in server order; None leaves the figure out."""

_NUMBER = re.compile(r"-?\d{1,30}(?:\.(\d{1,10}))?")
_MOST_NAMES = 4096
"""Names whose rules are cached: several times as many as servers have."""


def _decimals(values: Values) -> int:
    """The largest number of decimals. Raises ValueError if a value is not a number."""
    found = [_NUMBER.fullmatch(value) for value in values]
    if not all(found):
        raise ValueError("not all values are numbers")
    return max(len(match[1] or "") for match in found if match)


def _written(number: float, decimals: int) -> str:
    return f"{number:.{decimals}f}"


def total(values: Values) -> str | None:
    """The sum of numbers; for other values as ``same``."""
    try:
        decimals = _decimals(values)
    except ValueError:
        return same(values)
    return _written(sum(map(float, values)), decimals) if decimals else str(sum(map(int, values)))


def largest(values: Values) -> str | None:
    """The largest number; for other values as ``same``."""
    try:
        _decimals(values)
    except ValueError:
        return same(values)
    return max(values, key=float)


def smallest(values: Values) -> str | None:
    """The smallest number; for other values as ``same``."""
    try:
        _decimals(values)
    except ValueError:
        return same(values)
    return min(values, key=float)


def limit(values: Values) -> str | None:
    """The sum of limits; 0, which means no limit, if one of them is 0."""
    return "0" if "0" in values else total(values)


def same(values: Values) -> str | None:
    """The value of all servers; left out if they differ."""
    return values[0] if len(set(values)) == 1 else None


def first(values: Values) -> str | None:
    """The value of the first server."""
    return values[0]


def dropped(values: Values) -> str | None:
    """Left out: the figure has a meaning for one server only."""
    return None


def unless(good: str) -> Rule:
    """``good`` if all servers have this value, otherwise the first other value."""
    return lambda values: next((value for value in values if value != good), good)


def version_key(version: str) -> tuple[int, ...]:
    """A sort key for versions such as 7.0.15."""
    return tuple(int(part) for part in re.findall(r"\d{1,9}", version)[:4])


def oldest(values: Values) -> str | None:
    """The oldest version."""
    return min(values, key=version_key)


class Rules:
    """The rules for the figures of a kind of server."""

    def __init__(self, table: Sequence[tuple[str, Rule]], otherwise: Rule = total) -> None:
        """``table``: regular expressions for whole names; the first match counts."""
        self._table = [(re.compile(pattern), rule) for pattern, rule in table]
        self._otherwise = otherwise
        self._rule_of = lru_cache(maxsize=_MOST_NAMES)(self._find)

    def _find(self, name: str) -> Rule:
        return next((rule for pattern, rule in self._table if pattern.fullmatch(name)), self._otherwise)

    def merge(self, name: str, values: Values) -> str | None:
        """The pool's figure, from the values of the servers that have it; None if it is left out."""
        return self._rule_of(name)(values)
