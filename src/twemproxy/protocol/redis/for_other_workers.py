"""What a worker answers to the others, and what it does with their notices: a table for each.

Plain Python, see ``protocol.other_workers``. An answer is made in steps like those of ``protocol.plan.Steps``; each
yields some rows, or none.
"""

from collections.abc import Callable, Iterator, Sequence

from twemproxy.protocol.other_workers import CHANNELS, Rows
from twemproxy.protocol.redis.client_list import BLOCKED, KILLED, LISTED, tell_blocked, tell_killed, tell_listed
from twemproxy.protocol.redis.scripts import NO_SCRIPTS, SCRIPT, SCRIPTS, ScriptMemory
from twemproxy.protocol.redis.server_info import COUNTED, tell_counted
from twemproxy.protocol.redis.session import Pool
from twemproxy.protocol.redis.slow_log_commands import (
    FORGET_SLOW,
    SLOW,
    SLOW_COUNT,
    tell_forgotten,
    tell_slow,
    tell_slow_count,
)


def _scripts(pool: Pool) -> ScriptMemory:
    memory: ScriptMemory = pool.codec.scripts
    return memory


def _tell_scripts(arguments: Sequence[bytes], pool: Pool) -> Iterator[Rows]:
    """The answer to SCRIPTS: the body of each script, the latest one last."""
    for body in list(_scripts(pool).digests):
        yield [(0, body)]


def _learn_script(arguments: Sequence[bytes], pool: Pool) -> None:
    """After SCRIPT: keep this body."""
    [body] = arguments
    _scripts(pool).learn(body)


def _drop_scripts(arguments: Sequence[bytes], pool: Pool) -> None:
    """After NO_SCRIPTS: drop all scripts."""
    _scripts(pool).drop()


def _tell_channels(arguments: Sequence[bytes], pool: Pool) -> Iterator[Rows]:
    """The answer to CHANNELS: the two numbers of ``Agreement.answer``."""
    [digest] = arguments
    on_their_way, missing = pool.subscriptions.agreement.answer(digest)
    yield [(on_their_way, b"%d" % missing)]


ANSWERS: dict[str, Callable[[Sequence[bytes], Pool], Iterator[Rows]]] = {
    BLOCKED: tell_blocked,
    CHANNELS: _tell_channels,
    COUNTED: tell_counted,
    KILLED: tell_killed,
    LISTED: tell_listed,
    SCRIPTS: _tell_scripts,
    SLOW: tell_slow,
    SLOW_COUNT: tell_slow_count,
    FORGET_SLOW: tell_forgotten,
}
"""The answers, by the question."""

FOR_ANY_PROTOCOL = (KILLED, LISTED)
"""The questions that pools of memcached answer, too."""

NOTICES: dict[str, Callable[[Sequence[bytes], Pool], None]] = {SCRIPT: _learn_script, NO_SCRIPTS: _drop_scripts}
"""What is done after a notice."""
