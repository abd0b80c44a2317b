"""The memcached protocol: splits and merges requests, and makes all replies of the proxy.

Sans-IO, dual. ``MemcacheRequests`` and ``MemcacheReplies`` frame the messages; this subclass adds the rest of the
codec.
"""

from array import array
from collections.abc import Collection

import cython

from twemproxy.protocol.memcache import builtin_commands, statistics
from twemproxy.protocol.memcache.commands import COMMANDS, META_GET_WRITING_FLAGS, MISSES, Form
from twemproxy.protocol.memcache.errors import LIMITED, TEXTS, Problem, error_line, server_error
from twemproxy.protocol.memcache.handshake import MemcacheHandshake
from twemproxy.protocol.memcache.shown_arguments import shown_arguments
from twemproxy.protocol.plan import MORE

if not cython.compiled:
    from typing import Any

    from twemproxy.protocol.memcache.lines import find_newline
    from twemproxy.protocol.memcache.reply_parser import MemcacheReplies
    from twemproxy.protocol.plan import Plan
    from twemproxy.protocol.request import STATUS, VALUES, Item, Merge, Request

# Rows in commands.WORDS.
END_ROW = cython.declare(cython.const[cython.int], 7)
VALUE_ROW = cython.declare(cython.const[cython.int], 8)
OK_ROW = cython.declare(cython.const[cython.int], 11)
# commands.Form.RETRIEVAL_TOUCH, for C.
RETRIEVAL_TOUCH = cython.declare(cython.const[cython.int], 3)
# Length of the word VALUE and the blank after it.
VALUE_WORD = cython.declare(cython.const[cython.Py_ssize_t], 6)
# Arguments of a VALUE line between the word and the length.
VALUE_ARGUMENTS = cython.declare(cython.const[cython.int], 2)


@cython.final
@cython.cclass
class MemcacheCodec(MemcacheReplies):
    """The codec of one pool in one worker; see ``protocol.codec`` for the methods."""

    def __init__(self, allowed: Collection[str] = ()) -> None:
        """``allowed``: names of the commands that need permission and have it."""
        MemcacheReplies.__init__(self, list(allowed))
        self.errors_end_values = True
        self.handshake = MemcacheHandshake()
        self.permitted = frozenset(allowed)
        self.only_reads = array("i", [command.only_reads for command in COMMANDS])

    def permit(self, permitted: Collection[str], denied: Collection[str]) -> None:
        self.permitted = frozenset(permitted)
        self.allow(permitted)

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
        """True for commands that only read."""
        at: cython.Py_ssize_t = start
        row: cython.int
        while at < end and buf[at] > ord(b" "):
            at += 1
        row = self.names.find(buf, start, at)
        return row >= 0 and self.only_reads[row] != 0

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
        item.end = request.items_start
        item.last = request.items_end
        self.next_item(buf, start, item)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def next_item(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, item: Item
    ) -> cython.void:
        """An item is a key with the blank before it."""
        self.content_end = start + item.last
        item.end = self.next_token(buf, start + item.end) - start
        item.key_start = self.token_start - start
        item.key_end = self.token_end - start
        item.start = item.key_start - 1

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
        self.content_end = end
        while count > 0:
            at = self.next_token(buf, at)
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
        at: cython.Py_ssize_t = self.names.put(out, 0, request.command)
        i: cython.Py_ssize_t
        if self.forms[request.command] == RETRIEVAL_TOUCH:
            out[at] = ord(b" ")
            at += 1
            for i in range(start + request.prefix_start, start + request.prefix_end):
                out[at] = buf[i]
                at += 1
        return at

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_sub_request_end(self, out: cython.p_uchar) -> cython.Py_ssize_t:
        out[0] = ord(b"\r")
        out[1] = ord(b"\n")
        return 2

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
        row: cython.int = self.read_word(buf, start, end)
        good: cython.bint
        if merge == STATUS:
            good = row == OK_ROW
        elif merge != VALUES:
            good = not self.is_error(buf, start, end)
        else:
            # An error may follow values, in place of END.
            good = (
                (row == END_ROW or row == VALUE_ROW)
                and end - start >= 5
                and buf[end - 5] == ord(b"E")
                and buf[end - 4] == ord(b"N")
                and buf[end - 3] == ord(b"D")
                and (end - start == 5 or buf[end - 6] == ord(b"\n"))
            )
        return start if good else -1

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
        at: cython.Py_ssize_t
        i: cython.Py_ssize_t
        newline: cython.Py_ssize_t
        if self.read_word(buf, start, end) != VALUE_ROW:
            return start
        at = self.word_end + 1
        i = key_start
        while i < key_end and at < end and buf[at] == request[i]:
            at += 1
            i += 1
        if i < key_end or at >= end or buf[at] != ord(b" "):
            return start
        newline = find_newline(buf, at, end)
        self.read_header(buf, self.word_end, newline - 1, VALUE_ARGUMENTS)
        return newline + 1 + self.block_length + 2

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_values_end(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        return self.read_word(buf, start, end) == END_ROW

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_merged_end(self, out: cython.p_uchar) -> cython.Py_ssize_t:
        out[0] = ord(b"E")
        out[1] = ord(b"N")
        out[2] = ord(b"D")
        out[3] = ord(b"\r")
        out[4] = ord(b"\n")
        return 5

    # --- rare, ordinary Python -------------------------------------------------------------------------------

    def piece_head(self, prefix: bytes) -> bytes:
        return prefix

    def piece(self, head: bytes, items: bytes, arguments: int) -> bytes:
        return b"%b%b\r\n" % (head, items)

    def match_values(self, reply: bytes, keys: "list[bytes]") -> "list[tuple[int, int]] | None":
        unclaimed: dict[bytes, list[tuple[int, int]]] = {}
        places: list[tuple[int, int]] = []
        at: cython.Py_ssize_t = 0
        key: bytes
        while not self.is_values_end(reply, at, len(reply)):
            key = reply[at + VALUE_WORD : reply.index(b" ", at + VALUE_WORD)]
            behind: cython.Py_ssize_t = self.take_value(reply, at, len(reply), key, 0, len(key))
            unclaimed.setdefault(key, []).append((at, behind))
            at = behind
        for key in keys:
            found = unclaimed.get(key)
            places.append(found.pop(0) if found else (0, 0))
        return None if any(unclaimed.values()) else places

    def merge_replies(self, replies: "list[tuple[str, bytes]]") -> bytes:
        return statistics.join(replies)

    def refusal(self, request: Request) -> bytes:
        name = reason = ""
        if request.command >= 0:
            name = COMMANDS[request.command].name
            reason = COMMANDS[request.command].refusal
        return error_line(TEXTS[Problem(request.problem)].format(name=name, reason=reason))

    def large_refusal(self, request: Request, limit: int) -> bytes:
        command: cython.int = request.command
        has_block = command >= 0 and COMMANDS[command].form in (Form.STORAGE, Form.CAS, Form.META_SET)
        problem = Problem.TOO_LARGE if has_block else Problem.LONG_LINE
        return error_line(LIMITED.format(text=TEXTS[problem], limit=limit))

    def malformation(self, request: Request) -> bytes:
        return error_line(TEXTS[Problem(request.problem)])

    def missing_reply(self, data: bytes, resp3: bool) -> bytes:
        """Includes mg, which must not be sent twice, but changes nothing if the key is missing."""
        name, *words = data.split()
        writes = (
            any(word[0] in META_GET_WRITING_FLAGS for word in words[1:]) if name == b"mg" else not self.repeats(data)
        )
        return b"" if writes else MISSES.get(name.decode(), b"")

    def error(self, text: str) -> bytes:
        return server_error(text)

    def plan(self, data: bytes, request: Request, session: "Any", complete: bool = True) -> "Plan":
        return builtin_commands.plan(self, data, session) if complete else MORE

    def session(self, pool: "Any", client: "Any") -> "Any":
        return builtin_commands.Session(pool, client)

    def command_name(self, row: int) -> str:
        return COMMANDS[row].name if row >= 0 else ""

    def arguments_of(self, head: bytes) -> "list[bytes]":
        return shown_arguments(head)
