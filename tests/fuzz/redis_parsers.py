"""Fuzzes the parsers of redis: requests up to their plans, and replies up to their merging."""

import random
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from feeding import (
    COLOCATED,
    COMPLETE,
    EMPTY,
    FOREIGN,
    INLINE,
    MALFORMED,
    SCATTER,
    SLOW_PATH,
    STATUS,
    SUM,
    TO_CHANNEL,
    TO_KEY,
    VALUES,
    Message,
    Parser,
)
from redis_peers import Client, Pool

from fuzz.checking import Check, agreed, found_in, source_of
from harness.flavours import Load, compiled
from harness.redis_pool_streams import POOL_GROUPS
from harness.redis_streams import GROUPS, ODD_ARGUMENTS
from harness.resp import arguments, array, bulk, command, error, integer, message_end
from twemproxy.protocol.redis.commands import COMMANDS, PERMITTED_BY_DIRECTIVE, SUBCOMMANDS
from unit.fakes import fake_servers

MODULE = "twemproxy.protocol.redis.codec"
_MOST_LOOKS = 4
"""How often a request that has to wait is planned."""

# --- inputs ----------------------------------------------------------------------------------------------------------

_NAMES = [row.name.encode() for row in COMMANDS]
_WORDS = [tuple(name.encode().split(b"|")) for name in SUBCOMMANDS]
_SESSION_LINES = b"""
MULTI; EXEC; DISCARD; UNWATCH; RESET; QUIT; HELLO 3; HELLO 2; WATCH a b; SELECT 1; PING; INFO; GET a; NOSUCH a
SUBSCRIBE a b; PSUBSCRIBE a*; SSUBSCRIBE a; UNSUBSCRIBE; PUNSUBSCRIBE; SUNSUBSCRIBE a; PUBSUB NUMSUB a b
CLIENT REPLY EMPTY; CLIENT REPLY OFF; CLIENT REPLY ON; CLIENT LIST; CLIENT KILL ID 1; CLIENT SETNAME a
AUTH a b; AUTH secret; HELLO 3 AUTH default secret SETNAME a; CONFIG GET *; OBJECT ENCODING a
SET a 1; BLPOP a 0; XREAD BLOCK 0 STREAMS a $; SCAN 7; MGET a b c; MSET a 1 b 2; DEL a b; WAIT 1 0; LCS a b
SORT a BY b* GET #; EVAL return 2 a b; EVALSHA abc 1 a; SCRIPT LOAD return; COPY a b DB 1; MIGRATE h 1 k 0 1
COMMAND DOCS; COMMAND GETKEYS SET a 1; COMMAND LIST FILTERBY PATTERN g*; XGROUP CREATE a b 0
"""
_SESSIONS = [line.strip() for line in _SESSION_LINES.strip().replace(b"\n", b";").split(b";")]
REQUEST_TOKENS = [
    *(b"\r\n", b"\n", b"*1\r\n", b"*2\r\n", b"*3\r\n", b"*4\r\n", b"*0\r\n", b"*-1\r\n", b"$0\r\n\r\n", b"$1\r\na\r\n"),
    *(b"$-1\r\n", b"$1\r\n", b"$3\r\n", b'"', b"'", b"\\x", b"\\", b" ", b"POST ", b"Host: ", b"{a}", b"NOSUCH"),
    *map(bulk, ODD_ARGUMENTS[:20]),
    *_NAMES[::3],
]
_LINES = "+OK -ERR|x -LOADING|x -OOM -BUSY|x :1 :-1 $-1 *-1 _ #t ,1.5 (123 *0 *1 *2 *3 %1 ~1 >3 |1 $?"
_WORDS_OF_REPLIES = b"""
message pmessage smessage subscribe unsubscribe ssubscribe a 0 index begin_search find_keys type spec range keynum
keyword limit lastkey keystep keynumidx firstkey startfrom flags nosuch unknown
"""
REPLY_TOKENS = [
    *(b"\r\n", b"-NOSCRIPT No matching script. Please use EVAL.\r\n", b"=5\r\ntxt:a\r\n", b"!3\r\nERR\r\n", bulk(b"")),
    *(line.replace("|", " ").encode() + b"\r\n" for line in _LINES.split()),
    *map(bulk, _WORDS_OF_REPLIES.split()),
]
_MAKERS = [*GROUPS.values(), *POOL_GROUPS.values()]
_PREPARED = [b"PUBSUB NUMSUB a", b"PUBSUB NUMPAT", b"SCAN 0", b"DBSIZE", b"KEYS *", b"RANDOMKEY", b"LASTSAVE"]
_PREPARED += [b"SCRIPT EXISTS a", b"SCRIPT KILL", b"FLUSHALL", b"PUBSUB CHANNELS"]


def request(source: random.Random) -> bytes:
    """One request, or a few requests that belong together."""
    match source.randrange(4):
        case 0:
            return b"".join(made.request for made in source.choice(_MAKERS)(source))[:600]
        case 1:
            line = source.choice(_SESSIONS)
            return line + b"\r\n" if source.random() < 0.3 else command(*line.split(b" "))
        case 2:
            words = [*source.choice(_WORDS), *_values(source)]
        case _:
            words = [source.choice(_NAMES), *_values(source)]
    return command(*(word.upper() if source.random() < 0.2 else word for word in words))


def _values(source: random.Random) -> list[bytes]:
    values = [*b"a b {a}1 1 2 0 STORE STREAMS KEYS GET BLOCK".split(), *ODD_ARGUMENTS[:12]]
    return [source.choice(values) for _ in range(source.choice([0, 1, 1, 2, 3, 4, 6]))]


def reply(source: random.Random, depth: int = 3) -> bytes:
    """One reply of a server."""
    kind = source.randrange(8 if depth else 3)
    if kind < 3:
        return source.choice(
            [bulk(source.randbytes(source.randrange(9))), integer(source.randrange(-2, 9)), *REPLY_TOKENS]
        )
    if kind == 3:
        return _described(source)
    inner = [reply(source, depth - 1) for _ in range(source.choice([0, 1, 2, 2, 3]))]
    if kind < 6:
        return array(*inner)
    if kind == 6:
        return source.choice([b"~", b">"]) + array(*inner)[1:]
    pairs = [b"".join(reply(source, 0) for _ in range(2)) for _ in inner]
    return b"%" + array(*pairs)[1:] if source.random() < 0.7 else b"|" + array(*pairs)[1:] + reply(source, 0)


def _described(source: random.Random) -> bytes:
    """A reply to COMMAND INFO about one command, valid or nearly valid."""
    numbers = [integer(source.choice([-2, -1, 0, 1, 2, 3])) for _ in range(4)]
    places = [
        (b"index", b"range", [b"index"], [b"lastkey", b"keystep", b"limit"]),
        (b"keyword", b"keynum", [b"keyword", b"startfrom"], [b"keynumidx", b"firstkey", b"keystep"]),
    ]
    begin, find, begins, finds = source.choice(places)

    def step(kind: bytes, names: list[bytes]) -> bytes:
        values = [bulk(name) + (bulk(b"a") if name == b"keyword" else source.choice(numbers)) for name in names]
        spec = b"*%d\r\n" % (2 * len(values)) + b"".join(values)
        return array(bulk(b"type"), bulk(kind), bulk(b"spec"), spec)

    spec = array(
        bulk(b"flags"), array(), bulk(b"begin_search"), step(begin, begins), bulk(b"find_keys"), step(find, finds)
    )
    first, last, every, arity = numbers
    info = array(
        bulk(b"nosuch"), arity, array(b"+write\r\n"), first, last, every, array(), array(), array(spec), array()
    )
    return array(info)


# --- requests --------------------------------------------------------------------------------------------------------


def requests(load: Load) -> Check:
    """Checks client streams: framing, routing and plans."""
    module = load(MODULE)
    slow = Parser(module.RedisCodec(permitted=PERMITTED_BY_DIRECTIVE))
    fast = Parser(compiled(MODULE).RedisCodec(permitted=PERMITTED_BY_DIRECTIVE))

    def check(data: bytes) -> None:
        source = source_of(data)
        slow.expected = fast.expected = 0
        found = found_in(slow, fast, data, True, b"*1\r\n$4\r\n", b"\r\n$1\r\n")
        conversation = Conversation(module, slow, source)
        for message in found:
            _check_request(slow, fast, message, conversation)
        conversation.session.on_close()

    return check


def _check_request(slow: Any, fast: Any, message: Message, conversation: "Conversation") -> None:
    data = message.data
    if message.frame == MALFORMED:
        assert is_reply(message.meaning[0])
    elif message.frame == INLINE:
        rewritten = agreed(slow, fast, lambda codec: codec.rewrite(data))
        if isinstance(rewritten, bytes) and rewritten:
            assert slow.find_request(rewritten, 0, len(rewritten)) == COMPLETE
            assert slow.end == len(rewritten)
            conversation.go_on(rewritten)
    elif message.frame not in (EMPTY, FOREIGN):
        _check_complete(slow, fast, data)
        conversation.go_on(data)


def _check_complete(slow: Any, fast: Any, data: bytes) -> None:
    """Check that servers get whole requests, about the keys by which the request is routed."""
    for codec in (slow, fast):
        assert codec.find_request(data, 0, len(data)) == COMPLETE
    assert message_end(data) == len(data)
    words = arguments(data)
    assert command(*words) == data
    if slow.route in (TO_KEY, TO_CHANNEL):
        assert data[slow.key_start : slow.key_end] in words
        assert slow.key(data) == fast.key(data)
    elif slow.route == SCATTER:
        command_number, items = slow.command, slow.items
        split = slow.split(data, 0)
        head, tail = slow.sub_request(data, items)
        whole = head + b"".join(item for _, item in split) + tail
        assert arguments(whole)[1:] == words[1:]
        assert {key for key, _ in split} <= set(words)
        assert slow.find_request(whole, 0, len(whole)) == COMPLETE
        assert (slow.end, slow.command, slow.items) == (len(whole), command_number, items)
    elif slow.route == COLOCATED:
        keys = agreed(slow, fast, lambda codec: codec.keys(data, 3))
        assert isinstance(keys, ValueError) or set(keys) <= set(words)


class Conversation:
    """A client for which requests are planned, in a pool of one or three servers with random replies."""

    def __init__(self, module: Any, codec: Any, source: random.Random) -> None:
        """``codec``, of ``module``, is interpreted; its memory is replaced by a new one."""
        codec.scripts, codec.lookups = module.ScriptMemory(), module.Lookups()
        self.codec = codec
        self.source = source
        self.servers = source.choice([1, 3])
        self.pool = Pool(source.choice(["", "", "", "secret"]), 0, True, source.choice([1, 4]), self.servers)
        client = Client(self.pool)
        client.waiting = source.random() < 0.1
        self.session = client.session = codec.session(self.pool, client)

    def go_on(self, data: bytes) -> None:
        """Process the next request, which is complete."""
        for _ in range(_MOST_LOOKS):
            assert self.codec.find_request(data, 0, len(data)) == COMPLETE
            if self.codec.route != SLOW_PATH and not self.session.needs_planning:
                self._send(data)
                return
            planned = self.codec.plan(data, self.session)
            if planned is not None:
                self._check_plan(planned)
                self.session.on_dispatched()
                return
            self._let_time_pass()

    def _let_time_pass(self) -> None:
        """Let the events happen for which a client may wait."""
        client: Any = self.session.client
        client.waiting = client.reserved.waiting = False
        for asked in self.pool.asked:
            if isinstance(asked, tuple):
                asked_for, done = asked
                assert message_end(asked_for) == len(asked_for)
                done(reply(self.source) if self.source.random() < 0.9 else b"-ERR down\r\n", True)
        self.pool.asked.clear()

    def _send(self, data: bytes) -> None:
        """Remember a script that is called, and check the request that is sent if its server does not know it."""
        if not self.codec.retryable:
            return
        if self.codec.remembers_script:
            self.codec.remember_script(data)
        retry = self.codec.retry_form(data, error("NOSCRIPT No matching script. Please use EVAL."))
        assert not retry or message_end(retry) == len(retry)

    def _check_plan(self, planned: Any) -> None:
        match type(planned).__name__:
            case "Answer" | "Push":
                assert is_replies(planned.reply)
            case "ToServer" | "ToPrivate":
                assert 0 <= planned.server < self.servers
            case "Ask":
                for server, asked in planned.requests:
                    assert 0 <= server < self.servers
                    assert message_end(asked) == len(asked)
                    assert command(*arguments(asked)) == asked
                replies = [valid(reply(self.source)) for _ in planned.requests]
                assert is_replies(planned.merge([(f"s{i:02d}", said) for i, said in enumerate(replies)]))
            case "Steps":
                self._check_steps(planned)
            case kind:
                assert kind == "Pass"
                assert self.codec.route != SLOW_PATH

    def _check_steps(self, steps: Any) -> None:
        """Do all steps; their parts must be whole replies together, or each by itself if they are messages."""
        said = b""
        while True:
            try:
                part = next(steps.work)
            except StopIteration as end:
                ending = end.value
                break
            if part is None:
                self._let_time_pass()
            elif part:
                assert not steps.messages or is_replies(part)
                said += part
        if type(ending).__name__ in ("Answer", "Push"):
            assert is_replies(said + ending.reply)
        else:
            assert not said
            self._check_plan(ending)


def valid(said: bytes) -> bytes:
    """The reply if it is one whole reply, otherwise another reply."""
    return said if is_reply(said) else b"*1\r\n*0\r\n"


def is_reply(data: bytes) -> bool:
    """Whether the bytes are one whole reply."""
    try:
        return message_end(data) == len(data)
    except (ValueError, IndexError):
        return False


def is_replies(data: bytes) -> bool:
    """Whether the bytes are any number of whole replies."""
    at: int | None = 0
    while at is not None and at < len(data):
        at = message_end(data, at)
    return at == len(data)


# --- replies ---------------------------------------------------------------------------------------------------------


def replies(load: Load) -> Check:
    """Checks server replies: where they end, their kind, and the replies that clients get because of them."""
    module = load(MODULE)
    slow, fast = Parser(module.RedisCodec(permitted=PERMITTED_BY_DIRECTIVE)), Parser(compiled(MODULE).RedisCodec())
    plans = list(_asked_of_all(module, slow))

    def check(data: bytes) -> None:
        found = [
            message.data
            for message in found_in(slow, fast, data, False, b"*2\r\n", b"\r\n$1\r\n")
            if message.frame == COMPLETE
        ]
        for said in found:
            assert is_reply(said)
            _check_reply(slow, fast, said)
            _check_lookup(module, slow, said)
        for planned in plans if found else ():
            parts = [(f"s{server:02d}", found[i % len(found)]) for i, (server, _) in enumerate(planned.requests)]
            assert is_reply(planned.merge(parts))

    return check


def _asked_of_all(module: Any, slow: Any) -> Iterator[Any]:
    """Plans that merge the replies of all servers in different ways."""
    for words in _PREPARED:
        conversation = Conversation(module, slow, random.Random(1))
        conversation.pool.servers = fake_servers(3)
        conversation.session.pool.config.redis_auth = ""
        conversation.session.authenticated = True
        asked = command(*words.split())
        assert slow.find_request(asked, 0, len(asked)) == COMPLETE
        planned = slow.plan(asked, conversation.session)
        assert type(planned).__name__ == "Ask", words
        yield planned


def _check_reply(slow: Any, fast: Any, said: bytes) -> None:
    agreed(slow, fast, lambda codec: codec.kinds(said))
    agreed(slow, fast, lambda codec: codec.pubsub.read(said))
    agreed(slow, fast, lambda codec: (codec.handshake.is_well(said), codec.handshake.features("HELLO 3", said)))
    steps = ("AUTH", "HELLO 3", "SELECT of another database")
    agreed(slow, fast, lambda codec: [codec.handshake.problem(step, said) for step in steps])
    for merge in (VALUES, SUM, STATUS):
        _check_merged(slow, fast, said, merge)


def _part(said: bytes, merge: int, keys: list[bytes], codec: Any) -> Any:
    return codec.mergeable_part(said, merge, keys)


def _check_merged(slow: Any, fast: Any, said: bytes, merge: int) -> None:
    for keys in ([b"a"], [b"a", b"b"], [b"a", b"b", b"c"]):
        part = agreed(slow, fast, partial(_part, said, merge, keys))
        if merge == VALUES and part is not None:
            assert said.endswith(b"".join(part))
            assert all(map(is_reply, part))
            assert is_reply(slow.merged(merge, len(keys), 0) + b"".join(part))


def _check_lookup(module: Any, slow: Any, said: bytes) -> None:
    """Check a command that only servers know, with this reply as its description."""
    conversation = Conversation(module, slow, random.Random(1))
    asked = [command(b"nosuch", *words) for words in _arguments_to_try()]
    assert slow.find_request(asked[0], 0, len(asked[0])) == COMPLETE
    conversation.session.authenticated = True
    slow.plan(asked[0], conversation.session)
    for question in conversation.pool.asked:
        if isinstance(question, tuple):
            question[1](said, True)
    for again in asked:
        conversation.go_on(again)


def _arguments_to_try() -> Iterable[list[bytes]]:
    return [], [b"a"], [b"1", b"a"], [b"a", b"1", b"b"], [b"a", b"a", b"2", b"b", b"c"], [b"a"] * 9
