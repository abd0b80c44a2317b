"""The redis protocol: splitting and merging requests, and everything the proxy says in it.

Sans-IO, dual. ``RespFraming`` finds the messages, this class on top of it knows what to do with them.
"""

from array import array
from collections.abc import Collection

import cython

from twemproxy.protocol.redis import planning, subscribing
from twemproxy.protocol.redis.command_reply import Available
from twemproxy.protocol.redis.commands import COMMAND_INFO, COMMANDS, SUBCOMMANDS
from twemproxy.protocol.redis.errors import (
    CROSS_SERVER,
    DENIED,
    KEYLESS,
    NOT_ALLOWED,
    PROTOCOL_ERRORS,
    REFUSALS,
    TOO_LARGE,
    UNBALANCED_QUOTES,
    error_reply,
)
from twemproxy.protocol.redis.inline import UnbalancedQuotes, decode_request, encode_request, split_inline
from twemproxy.protocol.redis.keys import keys_of
from twemproxy.protocol.redis.lookups import Lookups
from twemproxy.protocol.redis.misses import missing_reply
from twemproxy.protocol.redis.scripts import ScriptMemory
from twemproxy.protocol.redis.session import Session, database_of

if not cython.compiled:
    from typing import Any

    from twemproxy.protocol.codec import IN_WORDS, RESP3, SUM, VALUES, Merge, put_number
    from twemproxy.protocol.plan import Plan
    from twemproxy.protocol.redis.framing import RespFraming

# commands.Routing, for C.
EACH_PAIR_STATUS = cython.declare(cython.const[cython.int], 3)
REFUSED = cython.declare(cython.const[cython.int], 7)
# Digits of a number of keys, of which a request has no more than framing.MAX_ARGUMENTS.
MOST_COUNT = cython.declare(cython.const[cython.Py_ssize_t], 10)
# Position in errors.REFUSALS.
NOT_AVAILABLE = cython.declare(cython.const[cython.int], 3)
# Position in errors.PROTOCOL_ERRORS.
HTTP_REQUEST = cython.declare(cython.const[cython.int], 6)

AUTH_STEP = "AUTH"
HELLO_STEP = "HELLO 3"
OTHER_DATABASE_STEP = "SELECT of another database"


@cython.final
@cython.cclass
class RedisCodec(RespFraming):
    """One per pool and worker; see ``protocol.codec`` for what every method promises.

    ``available``: what clients of the pool can use, a ``command_reply.Available``.
    """

    def __init__(self, permitted: Collection[str] = (), denied: Collection[str] = ()) -> None:
        """``permitted``: commands that need permission and have it; ``denied``: those that are refused as well.

        Both name commands, or sub-commands as ``config|set``.
        """
        RespFraming.__init__(self)
        self.permitted = frozenset(permitted)
        self.denied = frozenset(denied)
        self.scripts = ScriptMemory()
        self.lookups = Lookups()
        self.readonly = array("i", [command.readonly for command in COMMANDS])
        row: cython.Py_ssize_t
        available: list[str] = []
        for row in range(len(COMMANDS)):
            command = COMMANDS[row]
            if self.permission_refusal(command.name, command.permission):
                self.routing[row] = REFUSED
            elif self.routing[row] != REFUSED:
                available.append(command.name)
        self.available = Available(
            tuple(available),
            frozenset(sub.name for sub in SUBCOMMANDS.values() if self.permission_refusal(sub.name, sub.permission)),
        )

    # --- sending again ---------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_repeatable(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        """Commands that redis flags as readonly; a sub-command is none."""
        at: cython.Py_ssize_t = start
        name: cython.Py_ssize_t
        row: cython.int
        while at < end and buf[at] != ord(b"$"):
            at += 1
        while at < end and buf[at] != ord(b"\n"):
            at += 1
        at += 1
        name = at
        while at < end and buf[at] != ord(b"\r"):
            at += 1
        if at >= end:
            return False
        row = self.names.find(buf, name, at)
        return row >= 0 and self.readonly[row] != 0

    # --- splitting and merging -------------------------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def first_item(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.void:
        at: cython.Py_ssize_t = self.read_length(buf, start + 1, end)
        self.item_end = self.read_bulk(buf, at, end)
        self.next_item(buf, end)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def next_item(self, buf: cython.pointer[cython.const[cython.uchar]], end: cython.Py_ssize_t) -> cython.void:
        at: cython.Py_ssize_t
        self.item_start = self.item_end
        at = self.read_bulk(buf, self.item_start, end)
        self.key_start = at - 2 - self.number
        self.key_end = at - 2
        if self.step == 2:
            at = self.read_bulk(buf, at, end)
        self.item_end = at

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_sub_request(
        self,
        out: cython.p_uchar,
        buf: cython.pointer[cython.const[cython.uchar]],
        command: cython.int,
        items: cython.Py_ssize_t,
    ) -> cython.Py_ssize_t:
        at: cython.Py_ssize_t
        out[0] = ord(b"*")
        at = put_number(out, 1, items * (2 if self.routing[command] == EACH_PAIR_STATUS else 1) + 1)
        out[at] = ord(b"\r")
        out[at + 1] = ord(b"\n")
        out[at + 2] = ord(b"$")
        at = put_number(out, at + 3, self.names.length_of(command))
        out[at] = ord(b"\r")
        out[at + 1] = ord(b"\n")
        at = self.names.put(out, at + 2, command)
        out[at] = ord(b"\r")
        out[at + 1] = ord(b"\n")
        return at + 2

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_mergeable(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        merge: Merge,
        items: cython.Py_ssize_t,
    ) -> cython.bint:
        self.item_start = start + 1
        if merge == VALUES:
            if buf[start] != ord(b"*"):
                return False
            self.item_start = self.read_length(buf, start + 1, end)
            return self.number == items
        if merge == SUM:
            return self.is_count(buf, start, end)
        return merge == IN_WORDS or buf[start] == ord(b"+")

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_count(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        """Whether a complete reply is a number of keys: those of any number of servers can be added."""
        at: cython.Py_ssize_t = start + 1
        if buf[start] != ord(b":") or end - start > MOST_COUNT + 3:
            return False
        while ord(b"0") <= buf[at] <= ord(b"9"):
            at += 1
        return start + 1 < at == end - 2

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def take_value(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        request: cython.pointer[cython.const[cython.uchar]],
        key_start: cython.Py_ssize_t,
        key_end: cython.Py_ssize_t,
    ) -> cython.Py_ssize_t:
        """Elements come in the order of the keys, which ``is_mergeable`` has counted."""
        self.resume_at = 0
        self.frame_reply(buf, start, end)
        return self.end

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_values_end(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        return start == end

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_merged(
        self, out: cython.p_uchar, merge: Merge, items: cython.Py_ssize_t, total: cython.longlong
    ) -> cython.Py_ssize_t:
        at: cython.Py_ssize_t
        if merge == SUM:
            out[0] = ord(b":")
            at = put_number(out, 1, total)
        else:
            out[0] = ord(b"*")
            at = put_number(out, 1, items)
        out[at] = ord(b"\r")
        out[at + 1] = ord(b"\n")
        return at + 2

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_missing(self, out: cython.p_uchar) -> cython.Py_ssize_t:
        if self.expected & RESP3:
            out[0] = ord(b"_")
            out[1] = ord(b"\r")
            out[2] = ord(b"\n")
            return 3
        out[0] = ord(b"$")
        out[1] = ord(b"-")
        out[2] = ord(b"1")
        out[3] = ord(b"\r")
        out[4] = ord(b"\n")
        return 5

    # --- replies ---------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_error(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        return buf[start] == ord(b"-") or buf[start] == ord(b"!")

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_transient_error(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        """-LOADING, -BUSY and -OOM, as whole words."""
        length: cython.Py_ssize_t = 0
        if buf[start] != ord(b"-"):
            return False
        start += 1
        while start + length < end and buf[start + length] > ord(b" "):
            length += 1
        if length == 3:
            return buf[start] == ord(b"O") and buf[start + 1] == ord(b"O") and buf[start + 2] == ord(b"M")
        if length == 4:
            return (
                buf[start] == ord(b"B")
                and buf[start + 1] == ord(b"U")
                and buf[start + 2] == ord(b"S")
                and buf[start + 3] == ord(b"Y")
            )
        return (
            length == 7
            and buf[start] == ord(b"L")
            and buf[start + 1] == ord(b"O")
            and buf[start + 2] == ord(b"A")
            and buf[start + 3] == ord(b"D")
            and buf[start + 4] == ord(b"I")
            and buf[start + 5] == ord(b"N")
            and buf[start + 6] == ord(b"G")
        )

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_unasked(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        """A push message of RESP3."""
        return buf[start] == ord(b">")

    # --- in words --------------------------------------------------------------------------------------------

    def rewrite(self, request: bytes) -> bytes:
        line = request.rstrip(b"\n").removesuffix(b"\r")
        try:
            arguments = split_inline(line)
        except UnbalancedQuotes:
            raise ValueError(UNBALANCED_QUOTES) from None
        if arguments and arguments[0].lower() in (b"post", b"host:"):
            raise ValueError(PROTOCOL_ERRORS[HTTP_REQUEST])
        return encode_request(arguments) if arguments else b""

    def refusal(self, request: bytes) -> bytes:
        command = COMMANDS[self.command]
        if self.problem == NOT_AVAILABLE:
            denied = self.permission_refusal(command.name, command.permission)
            if denied:
                return error_reply(denied)
        return error_reply(REFUSALS[self.problem].format(name=command.name, reason=command.refusal))

    def permission_refusal(self, name: str, needed: bool) -> str:
        """Why this pool's configuration refuses a command, or a sub-command by its full name; empty when it does not.

        ``needed``: whether it is available only with permission.
        """
        container = name.split("|")[0]
        if name in self.denied or container in self.denied:
            return DENIED.format(name=name)
        if needed and name not in self.permitted and container not in self.permitted:
            return NOT_ALLOWED.format(name=name)
        return ""

    def large_refusal(self, limit: int) -> bytes:
        return error_reply(TOO_LARGE.format(limit=limit))

    def keys(self, request: bytes, servers: int) -> "list[bytes]":
        return keys_of(COMMAND_INFO[COMMANDS[self.command].name], decode_request(request))

    def keys_refusal(self, reason: str = "") -> bytes:
        return error_reply(reason or CROSS_SERVER)

    def only_refusal(self, request: bytes, servers: int) -> bytes:
        return error_reply(KEYLESS.format(name=COMMANDS[self.command].name, servers=servers))

    def malformation(self, text: str = "") -> bytes:
        found: str = bytes([self.found]).decode("utf-8", "surrogateescape")
        return error_reply("ERR " + (text or PROTOCOL_ERRORS[self.problem].format(found=found)))

    def missing_reply(self, request: bytes, resp3: bool) -> bytes:
        return missing_reply(decode_request(request), resp3)

    def error(self, text: str) -> bytes:
        return error_reply("ERR " + text)

    def routing_key(self, request: bytes) -> bytes:
        """The key that routes the request just framed, which is routed TO_KEY."""
        start: cython.Py_ssize_t = self.end - len(request)
        return request[self.key_start - start : self.key_end - start]

    def plan(self, request: bytes, session: "Any") -> "Plan":
        return planning.plan(self, request, session)

    def session(self, pool: "Any", client: "Any") -> "Any":
        return Session(pool, client)

    def note(self, request: bytes) -> None:
        self.scripts.note(request)

    def repaired(self, request: bytes, reply: bytes) -> bytes:
        return self.scripts.repaired(request, reply)

    # --- subscriptions -------------------------------------------------------------------------------------------

    def subscription(self, kind: str, name: bytes) -> bytes:
        return subscribing.subscription(kind, name)

    def unsubscription(self, kind: str, name: bytes) -> bytes:
        return subscribing.unsubscription(kind, name)

    def read_message(self, message: bytes) -> "tuple[str, str, bytes]":
        return subscribing.read_message(message)

    def comes_from_anywhere(self, kind: str, name: bytes) -> bool:
        return subscribing.comes_from_anywhere(kind, name)

    # --- greetings -----------------------------------------------------------------------------------------------

    def handshake(self, settings: "Any", profile: int) -> "list[tuple[str, bytes]]":
        steps = []
        database = database_of(profile, settings)
        if settings.redis_auth:
            steps.append((AUTH_STEP, encode_request([b"AUTH", settings.redis_auth.encode()])))
        if profile % 2:
            steps.append((HELLO_STEP, encode_request([b"HELLO", b"3"])))
        if database != settings.redis_db:
            steps.append((OTHER_DATABASE_STEP, encode_request([b"SELECT", b"%d" % database])))
        elif database:
            steps.append((f"SELECT {database}", encode_request([b"SELECT", b"%d" % database])))
        return steps

    def handshake_problem(self, step: str, reply: bytes) -> str:
        if not reply.startswith(b"-"):
            return ""
        text = reply[1:].rstrip().decode("utf-8", "replace")
        # A server without a password needs none: the connection is as good as an authenticated one.
        if step == AUTH_STEP and ("without any password configured" in text or "no password is set" in text):
            return ""
        return text

    def probe(self) -> bytes:
        return encode_request([b"PING"])

    def is_well(self, reply: bytes) -> bool:
        return reply == b"+PONG\r\n"

    def declines_profile(self, step: str) -> bool:
        return step in (HELLO_STEP, OTHER_DATABASE_STEP)
