"""The redis protocol: splits and merges requests, and makes all replies of the proxy.

Sans-IO, dual. ``RespFraming`` frames the messages; this subclass adds the rest of the codec.
"""

from array import array
from collections.abc import Collection
from contextlib import suppress

import cython

from twemproxy.protocol.redis import planning
from twemproxy.protocol.redis.command_discovery import Lookups
from twemproxy.protocol.redis.commands import (
    BY_NAME,
    COMMAND_INFO,
    COMMANDS,
    denied_commands,
    with_categories,
)
from twemproxy.protocol.redis.empty_replies import missing_reply
from twemproxy.protocol.redis.errors import (
    CROSS_SERVER,
    MANY_ARGUMENTS,
    PROTOCOL_ERRORS,
    REFUSALS,
    TOO_LARGE,
    UNBALANCED_QUOTES,
    UNFENCED,
    UNFIT,
    count_errors,
    error_reply,
    keyless,
    not_available,
)
from twemproxy.protocol.redis.handshake import RedisHandshake
from twemproxy.protocol.redis.inline import UnbalancedQuotes, decode_request, decode_some, encode_line
from twemproxy.protocol.redis.keys import MOST_LOOKED_UP, keys_of
from twemproxy.protocol.redis.maintenance import moving
from twemproxy.protocol.redis.permissions import permission_refusal, usable_commands
from twemproxy.protocol.redis.pubsub_messages import RedisPubsubMessages
from twemproxy.protocol.redis.scripts import LONGEST as LONGEST_SCRIPT
from twemproxy.protocol.redis.scripts import ScriptMemory
from twemproxy.protocol.redis.session import SCRIPTS_PROFILE, Session
from twemproxy.protocol.redis.shown_arguments import shown_arguments
from twemproxy.protocol.redis.versions import Versions

if not cython.compiled:
    from typing import Any

    from twemproxy.protocol.codec import put_number
    from twemproxy.protocol.plan import Plan
    from twemproxy.protocol.redis.framing import RespFraming
    from twemproxy.protocol.request import CUSTOM, RESP3, STATUS, SUM, VALUES, Item, Merge, Request

# framing.MAX_BULK.
MAX_BULK = cython.declare(cython.const[cython.Py_ssize_t], 512 * 1024 * 1024)
# Most digits of a number of keys: a request has up to framing.MAX_ARGUMENTS.
# Most arguments among which keys are looked for, for the access log.
MOST_LOGGED = 1000
MOST_COUNT = cython.declare(cython.const[cython.Py_ssize_t], 10)
# Positions in errors.REFUSALS.
NOT_AVAILABLE = cython.declare(cython.const[cython.int], 3)
NO_INTEGER = cython.declare(cython.const[cython.int], 4)
TOO_MANY_KEYS = cython.declare(cython.const[cython.int], 5)
NEGATIVE_KEYS = cython.declare(cython.const[cython.int], 6)

# Length of a fence's token.
TOKEN = cython.declare(cython.const[cython.Py_ssize_t], 16)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_token(
    out: cython.p_uchar, at: cython.Py_ssize_t, token: cython.pointer[cython.const[cython.uchar]]
) -> cython.Py_ssize_t:
    """Write a fence's token as a bulk string at ``out[at]``; returns the position after it."""
    i: cython.Py_ssize_t
    out[at] = ord(b"$")
    out[at + 1] = ord(b"1")
    out[at + 2] = ord(b"6")
    out[at + 3] = ord(b"\r")
    out[at + 4] = ord(b"\n")
    for i in range(TOKEN):
        out[at + 5 + i] = token[i]
    out[at + 21] = ord(b"\r")
    out[at + 22] = ord(b"\n")
    return at + 23


READONLY = array("i", [command.readonly for command in COMMANDS])


@cython.final
@cython.cclass
class RedisCodec(RespFraming):
    """The codec of one pool in one worker; see ``protocol.codec`` for the methods.

    ``available``: the commands that clients of the pool can use, a ``command_reply.Available``.
    """

    def __init__(self, permitted: Collection[str] = (), denied: Collection[str] = ()) -> None:
        """``permitted``: the commands that need permission and have it. ``denied``: further commands that are refused.

        Both have names of commands, of sub-commands as ``config|set``, and of categories as ``@scripting``.
        """
        RespFraming.__init__(self)
        self.scripts = ScriptMemory()
        self.script_digests = self.scripts.digests
        self.lookups = Lookups()
        self.echo = BY_NAME["echo"]
        self.versions = Versions()
        self.handshake = RedisHandshake(self)
        self.pubsub = RedisPubsubMessages()
        self.readonly = READONLY
        self.permit(permitted, denied)

    def permit(self, permitted: Collection[str], denied: Collection[str]) -> None:
        self.permitted = with_categories(permitted)
        self.denied = denied_commands(denied)
        self.routing, self.available = usable_commands(self.permitted, self.denied)

    # --- sending again ---------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def has_script(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, request: Request
    ) -> cython.bint:
        at: cython.Py_ssize_t = self.read_bulk(buf, start + request.items_start, start + request.items_end, MAX_BULK)
        if at < 0 or self.number > LONGEST_SCRIPT:
            return False
        body: bytes = buf[at - 2 - self.number : at - 2]
        if body not in self.script_digests:
            return False
        self.script_digests.move_to_end(body)
        return True

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_repeatable(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        """True for commands that redis flags as readonly, except sub-commands."""
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
        request: Request,
        item: Item,
    ) -> cython.void:
        item.arguments = 2 if request.merge == STATUS else 1
        item.end = request.items_start
        item.last = request.items_end
        self.next_item(buf, start, item)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def next_item(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, item: Item
    ) -> cython.void:
        end: cython.Py_ssize_t = start + item.last
        at: cython.Py_ssize_t
        item.start = item.end
        at = self.read_bulk(buf, start + item.start, end, MAX_BULK)
        item.key_start = at - 2 - self.number - start
        item.key_end = at - 2 - start
        if item.arguments == 2:
            at = self.read_bulk(buf, at, end, MAX_BULK)
        item.end = at - start

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def skip_items(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        at: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        merge: Merge,
        count: cython.Py_ssize_t,
    ) -> cython.Py_ssize_t:
        if merge == STATUS:
            count *= 2
        while count > 0:
            at = self.read_bulk(buf, at, end, MAX_BULK)
            count -= 1
        return at

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_sub_request(
        self,
        out: cython.p_uchar,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        request: Request,
        items: cython.Py_ssize_t,
    ) -> cython.Py_ssize_t:
        at: cython.Py_ssize_t
        out[0] = ord(b"*")
        at = put_number(out, 1, items * (2 if request.merge == STATUS else 1) + 1)
        out[at] = ord(b"\r")
        out[at + 1] = ord(b"\n")
        out[at + 2] = ord(b"$")
        at = put_number(out, at + 3, self.names.length_of(request.command))
        out[at] = ord(b"\r")
        out[at + 1] = ord(b"\n")
        at = self.names.put(out, at + 2, request.command)
        out[at] = ord(b"\r")
        out[at + 1] = ord(b"\n")
        return at + 2

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def find_values(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        merge: Merge,
        items: cython.Py_ssize_t,
    ) -> cython.Py_ssize_t:
        at: cython.Py_ssize_t
        if merge == VALUES:
            if buf[start] != ord(b"*"):
                return -1
            at = self.read_length(buf, start + 1, end)
            return at if self.number == items else -1
        if merge == SUM:
            return start + 1 if self.is_count(buf, start, end) else -1
        return start + 1 if merge == CUSTOM or buf[start] == ord(b"+") else -1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_count(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        """Whether a complete reply is a number of keys, so that the sum over any number of servers cannot overflow."""
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
        """Elements are in the order of the keys; ``find_values`` has checked their number."""
        at: cython.Py_ssize_t = start
        left: cython.Py_ssize_t = 1
        while left > 0:
            at = self.read_value(buf, at, end)
            if at < 0:
                return start
            left += self.inner - 1
        return at

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
    def put_missing(self, out: cython.p_uchar, expected: cython.uchar) -> cython.Py_ssize_t:
        if expected & RESP3:
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
        """True for -LOADING, -BUSY and -OOM, as whole words."""
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
    def is_push(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        """True for a push message of RESP3."""
        return buf[start] == ord(b">")

    # --- fences ----------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_fence(self, out: cython.p_uchar, token: cython.pointer[cython.const[cython.uchar]]) -> cython.Py_ssize_t:
        """The fence is ECHO."""
        at: cython.Py_ssize_t
        out[0] = ord(b"*")
        out[1] = ord(b"2")
        out[2] = ord(b"\r")
        out[3] = ord(b"\n")
        out[4] = ord(b"$")
        out[5] = ord(b"4")
        out[6] = ord(b"\r")
        out[7] = ord(b"\n")
        at = self.names.put(out, 8, self.echo)
        out[at] = ord(b"\r")
        out[at + 1] = ord(b"\n")
        return put_token(out, at + 2, token)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_fence_reply(
        self, out: cython.p_uchar, token: cython.pointer[cython.const[cython.uchar]]
    ) -> cython.Py_ssize_t:
        return put_token(out, 0, token)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_urgent_fence(
        self, out: cython.p_uchar, token: cython.pointer[cython.const[cython.uchar]]
    ) -> cython.Py_ssize_t:
        """The fence is a command that does not exist: servers that are busy or loading still report that."""
        out[0] = ord(b"*")
        out[1] = ord(b"1")
        out[2] = ord(b"\r")
        out[3] = ord(b"\n")
        return put_token(out, 4, token)

    # --- rare, ordinary Python -------------------------------------------------------------------------------

    def rewrite(self, data: bytes) -> bytes:
        line = data.rstrip(b"\n").removesuffix(b"\r")
        try:
            return encode_line(line)
        except UnbalancedQuotes:
            raise ValueError(UNBALANCED_QUOTES) from None

    def piece_head(self, prefix: bytes) -> bytes:
        return prefix[prefix.index(b"\n") + 1 :]

    def piece(self, head: bytes, items: bytes, arguments: int) -> bytes:
        return b"*%d\r\n%b%b" % (arguments + 1, head, items)

    def refusal(self, request: Request) -> bytes:
        command = COMMANDS[request.command]
        if request.problem == NOT_AVAILABLE:
            denied = self.permission_refusal(command.name, command.permission)
            return error_reply(denied) if denied else not_available(command.name, command.refusal)
        if request.problem in (NO_INTEGER, TOO_MANY_KEYS, NEGATIVE_KEYS):
            return error_reply(count_errors(command.name)[request.problem - NO_INTEGER].format(name=command.name))
        return error_reply(REFUSALS[request.problem].format(name=command.name))

    def permission_refusal(self, name: str, needed: bool) -> str:
        """Why this pool's configuration refuses a command, or a sub-command by its full name; empty if it does not.

        ``needed``: whether the command is available only with permission.
        """
        return permission_refusal(name, needed, self.permitted, self.denied)

    def large_refusal(self, request: Request, limit: int) -> bytes:
        return error_reply(TOO_LARGE.format(limit=limit))

    def keys(self, data: bytes, request: Request, servers: int) -> "list[bytes]":
        name: str = COMMANDS[request.command].name
        if request.arguments > MOST_LOOKED_UP:
            raise ValueError(MANY_ARGUMENTS.format(name=name, most=MOST_LOOKED_UP))
        return keys_of(COMMAND_INFO[name], decode_request(data))

    def keys_refusal(self, reason: str = "") -> bytes:
        return error_reply(reason or CROSS_SERVER)

    def only_refusal(self, request: Request, servers: int) -> bytes:
        return keyless(COMMANDS[request.command].name, servers)

    def malformation(self, request: Request) -> bytes:
        found: str = bytes([request.found]).decode("utf-8", "surrogateescape")
        return error_reply("ERR " + PROTOCOL_ERRORS[request.problem].format(found=found))

    def missing_reply(self, data: bytes, resp3: bool) -> bytes:
        return missing_reply(decode_request(data), resp3)

    def error(self, text: str) -> bytes:
        return error_reply("ERR " + text)

    def plan(self, data: bytes, request: Request, session: "Any", complete: bool = True) -> "Plan":
        return planning.plan(self, data, request, session, complete)

    def session(self, pool: "Any", client: "Any") -> "Any":
        return Session(pool, client)

    def moving(self, session: "Any", number: int, seconds: int) -> bytes:
        return moving(session, number, seconds)

    def command_name(self, row: int) -> str:
        return COMMANDS[row].name if row >= 0 else ""

    def arguments_of(self, head: bytes) -> "list[bytes]":
        return shown_arguments(head)

    def logged_keys(self, data: bytes, request: Request, longest: int) -> "tuple[bytes, int]":
        keys: list[bytes] = []
        with suppress(ValueError):  # only the beginning is known, or the request is refused
            if request.arguments <= MOST_LOGGED:
                arguments = decode_some(data, 0, request.arguments, longest)[0]
                keys = keys_of(COMMAND_INFO[COMMANDS[request.command].name], arguments)
        return (keys[0], len(keys)) if keys else (b"", 0)

    def remember_script(self, data: bytes) -> None:
        self.scripts.remember_script(data)

    def retry_form(self, data: bytes, reply: bytes) -> bytes:
        return self.scripts.retry_form(data, reply)

    def meet(self, others: "Any") -> None:
        self.scripts.others = others

    def is_tainted(self, profile: int) -> bool:
        return bool(profile & SCRIPTS_PROFILE)

    def unfit_reply(self) -> bytes:
        return error_reply(UNFIT)

    def unfenced_reply(self) -> bytes:
        return error_reply(UNFENCED)
