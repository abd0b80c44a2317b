"""The memcached protocol: splitting and merging requests, and everything the proxy says in it.

Sans-IO, dual. ``MemcacheRequests`` and ``MemcacheReplies`` find the messages, this class on top of them knows what to
do with them.
"""

import re
from array import array
from collections.abc import Collection

import cython

from twemproxy.protocol.memcache import local
from twemproxy.protocol.memcache.commands import COMMANDS, META_GET_WRITING_FLAGS, MISSES, Form
from twemproxy.protocol.memcache.errors import LIMITED, META_UNSUPPORTED, TEXTS, Problem, error_line, server_error

if not cython.compiled:
    from typing import Any

    from twemproxy.protocol.codec import STATUS, VALUES, Merge
    from twemproxy.protocol.memcache.lines import find_newline
    from twemproxy.protocol.memcache.replies import MemcacheReplies
    from twemproxy.protocol.plan import Plan

# Rows in commands.WORDS.
END_ROW = cython.declare(cython.const[cython.int], 7)
VALUE_ROW = cython.declare(cython.const[cython.int], 8)
OK_ROW = cython.declare(cython.const[cython.int], 11)
# commands.Form.RETRIEVAL_TOUCH, for C.
META = cython.declare(cython.const[cython.int], 7)
RETRIEVAL_TOUCH = cython.declare(cython.const[cython.int], 3)
# Bytes of the word VALUE and the blank behind it.
VALUE_WORD = cython.declare(cython.const[cython.Py_ssize_t], 6)
# Other arguments in front of a VALUE's length.
VALUE_ARGUMENTS = cython.declare(cython.const[cython.int], 2)

# The step of the handshake, and the offer, that requests.META_KNOWN stands for.
VERSION_STEP = "version"
META_OFFER = 1
FIRST_WITH_META = (1, 6, 10)

_VERSION = re.compile(rb"VERSION (\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?")


@cython.final
@cython.cclass
class MemcacheCodec(MemcacheReplies):
    """One per pool and worker; see ``protocol.codec`` for what every method promises."""

    def __init__(self, allowed: Collection[str] = ()) -> None:
        """``allowed``: the commands that need permission and have it, by name."""
        MemcacheReplies.__init__(self, list(allowed))
        self.only_reads = array("i", [command.only_reads for command in COMMANDS])
        self.writing_flags = array("i", [chr(byte) in META_GET_WRITING_FLAGS for byte in range(256)])

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
        """Commands that only read, without the flags with which a meta command does more."""
        at: cython.Py_ssize_t = start
        row: cython.int
        while at < end and buf[at] > ord(b" "):
            at += 1
        row = self.names.find(buf, start, at)
        if row < 0 or not self.only_reads[row]:
            return False
        if self.forms[row] != META:
            return True
        while at < end and buf[at] == ord(b" "):
            at += 1
        while at < end and buf[at] > ord(b" "):
            at += 1
        while at + 1 < end and buf[at] != ord(b"\r") and buf[at] != ord(b"\n"):
            if buf[at] == ord(b" ") and self.writing_flags[buf[at + 1]]:
                return False
            at += 1
        return True

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
        self.item_end = self.keys_at
        self.next_item(buf, end)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def next_item(self, buf: cython.pointer[cython.const[cython.uchar]], end: cython.Py_ssize_t) -> cython.void:
        """The item is the key with the last blank in front of it."""
        self.item_end = self.next_token(buf, self.item_end)
        self.key_start = self.token_start
        self.key_end = self.token_end
        self.item_start = self.token_start - 1

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
        at: cython.Py_ssize_t = self.names.put(out, 0, command)
        i: cython.Py_ssize_t
        if self.forms[command] == RETRIEVAL_TOUCH:
            out[at] = ord(b" ")
            at += 1
            for i in range(self.time_start, self.time_end):
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
    def is_mergeable(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        merge: Merge,
        items: cython.Py_ssize_t,
    ) -> cython.bint:
        row: cython.int = self.read_word(buf, start, end)
        self.item_start = start
        if merge == STATUS:
            return row == OK_ROW
        if merge != VALUES:
            return not self.is_error(buf, start, end)
        # An error may stand behind values, in the place of END.
        return (
            (row == END_ROW or row == VALUE_ROW)
            and end - start >= 5
            and buf[end - 5] == ord(b"E")
            and buf[end - 4] == ord(b"N")
            and buf[end - 3] == ord(b"D")
            and (end - start == 5 or buf[end - 6] == ord(b"\n"))
        )

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

    # --- in words --------------------------------------------------------------------------------------------

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

    def merge_in_words(self, replies: "list[tuple[str, bytes]]") -> bytes:
        return local.merge_statistics(replies)

    def refusal(self, request: bytes) -> bytes:
        name = reason = ""
        if self.command >= 0:
            name = COMMANDS[self.command].name
            reason = COMMANDS[self.command].refusal
        return error_line(TEXTS[Problem(self.problem)].format(name=name, reason=reason))

    def large_refusal(self, limit: int) -> bytes:
        has_block = self.command >= 0 and COMMANDS[self.command].form in (Form.STORAGE, Form.CAS, Form.META_SET)
        problem = Problem.TOO_LARGE if has_block else Problem.LONG_LINE
        return error_line(LIMITED.format(text=TEXTS[problem], limit=limit))

    def malformation(self, text: str = "") -> bytes:
        return error_line(text or TEXTS[Problem(self.problem)])

    def missing_reply(self, request: bytes, resp3: bool) -> bytes:
        if not self.repeats(request):
            return b""
        return MISSES.get(request.split(None, 1)[0].decode(), b"")

    def error(self, text: str) -> bytes:
        return server_error(text)

    def plan(self, request: bytes, session: "Any") -> "Plan":
        return local.answer(request, session)

    def session(self, pool: "Any", client: "Any") -> "Any":
        return local.Session(pool)

    def handshake(self, settings: "Any", profile: int) -> "list[tuple[str, bytes]]":
        """What a server understands follows from its version."""
        return [(VERSION_STEP, b"version\r\n")]

    def handshake_problem(self, step: str, reply: bytes) -> str:
        if reply.startswith(b"VERSION"):
            return ""
        return reply.rstrip().decode("utf-8", "replace")

    def probe(self) -> bytes:
        return b"version\r\n"

    def is_well(self, reply: bytes) -> bool:
        return reply.startswith(b"VERSION ")

    def offer(self, step: str, reply: bytes) -> int:
        """A version of another form is that of another server, of which nothing bad is known."""
        found = _VERSION.match(reply)
        if found and tuple(int(number or 0) for number in found.groups()) < FIRST_WITH_META:
            return 0
        return META_OFFER

    def unmet(self) -> str:
        return META_UNSUPPORTED
