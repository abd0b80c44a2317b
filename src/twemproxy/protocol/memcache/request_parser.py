"""Frames requests of memcached's text protocol, and finds their keys.

Sans-IO, dual. ``ClassicRequests`` reads lines and the classic commands; this subclass identifies all commands and reads
the others. The wire format is memcached's doc/protocol.txt.
"""

from array import array
from collections.abc import Collection

import cython

from twemproxy.protocol.memcache.commands import COMMANDS, META_SET_FLAGS, MODES

if not cython.compiled:
    from twemproxy.protocol.foreign import begins_as_http, names_http_version
    from twemproxy.protocol.memcache.classic_requests import NO_LENGTH, ClassicRequests, Length
    from twemproxy.protocol.request import (
        BROADCAST,
        COMPLETE,
        FOREIGN,
        NOREPLY,
        QUIET,
        SLOW_PATH,
        STATUS,
        TO_ANY,
        TO_KEY,
        Cursor,
        Frame,
        Request,
    )

# Most bytes of an opaque flag after its letter.
MOST_OPAQUE = cython.declare(cython.const[cython.Py_ssize_t], 31)

# Most flags of ms. memcached refuses more without dropping the data block, which it then reads as commands.
MOST_FLAGS = cython.declare(cython.const[cython.int], 16)

# commands.Form, for C.
STORAGE = cython.declare(cython.const[cython.int], 0)
CAS = cython.declare(cython.const[cython.int], 1)
RETRIEVAL = cython.declare(cython.const[cython.int], 2)
RETRIEVAL_TOUCH = cython.declare(cython.const[cython.int], 3)
ARITHMETIC = cython.declare(cython.const[cython.int], 4)
TOUCH = cython.declare(cython.const[cython.int], 5)
DELETE = cython.declare(cython.const[cython.int], 6)
META = cython.declare(cython.const[cython.int], 7)
META_SET = cython.declare(cython.const[cython.int], 8)
META_NOOP = cython.declare(cython.const[cython.int], 9)
VERSION = cython.declare(cython.const[cython.int], 10)
VERBOSITY = cython.declare(cython.const[cython.int], 11)
FLUSH_ALL = cython.declare(cython.const[cython.int], 12)
STATS = cython.declare(cython.const[cython.int], 13)
QUIT = cython.declare(cython.const[cython.int], 14)

# errors.Problem, for C.
NO_PROBLEM = cython.declare(cython.const[cython.int], 0)
UNKNOWN = cython.declare(cython.const[cython.int], 1)
BAD_LINE = cython.declare(cython.const[cython.int], 2)
BAD_EXPTIME = cython.declare(cython.const[cython.int], 3)
BAD_FLAG = cython.declare(cython.const[cython.int], 8)
BAD_TOKEN = cython.declare(cython.const[cython.int], 11)
BAD_OPAQUE = cython.declare(cython.const[cython.int], 12)
BAD_MODE_LENGTH = cython.declare(cython.const[cython.int], 13)
BAD_MODE = cython.declare(cython.const[cython.int], 14)
NOT_ALLOWED = cython.declare(cython.const[cython.int], 16)
NOT_AVAILABLE = cython.declare(cython.const[cython.int], 17)
LINE_FEED_IN_KEY = cython.declare(cython.const[cython.int], 20)
ENDLESS_STATISTICS = cython.declare(cython.const[cython.int], 21)
MANY_FLAGS = cython.declare(cython.const[cython.int], 19)

# commands.FlagKind, for C.
NO_FLAG = cython.declare(cython.const[cython.int], 0)
UNSIGNED_32 = cython.declare(cython.const[cython.int], 2)
UNSIGNED_64 = cython.declare(cython.const[cython.int], 3)
SIGNED_32 = cython.declare(cython.const[cython.int], 4)
OPAQUE = cython.declare(cython.const[cython.int], 5)
MODE = cython.declare(cython.const[cython.int], 6)

# Rows of classic_requests.KEYWORDS.
NOREPLY_WORD = cython.declare(cython.const[cython.int], 0)
SIZES_ENABLE = cython.declare(cython.const[cython.int], 2)
SIZES_DISABLE = cython.declare(cython.const[cython.int], 3)

# The bit of ``Request.required_features`` for a server with the meta commands in their present form.
META_KNOWN = cython.declare(cython.const[cython.int], 1)

BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@cython.cclass
class MemcacheRequests(ClassicRequests):
    """Frames requests."""

    def __init__(self, allowed: Collection[str]) -> None:
        """As ClassicRequests."""
        ClassicRequests.__init__(self, allowed)
        self.too_few = array("i", [command.too_few for command in COMMANDS])
        self.bad_flags = array("i", [command.bad_flag for command in COMMANDS])
        self.bad_keys = array("i", [command.bad_key for command in COMMANDS])
        self.flag_kinds = array("i", [META_SET_FLAGS.get(chr(byte), 0) for byte in range(256)])
        self.modes = array("i", [chr(byte) in MODES for byte in range(256)])
        self.sextets = array("i", [BASE64.find(byte) for byte in range(256)])

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def frame_request(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        confined: cython.bint,
        flags: cython.uchar,
        cursor: Cursor,
        request: Request,
    ) -> Frame:
        form: cython.int
        frame: Frame = self.find_line(buf, start, end, cursor, request)
        at: cython.Py_ssize_t = self.token_end
        request.strip_start = 0
        request.strip_end = 0
        request.discard = 0
        request.required_features = 0
        request.expected = flags
        request.key_decoded = False
        request.command_class = cython.cast(cython.uchar, self.classes[request.command + 1])
        if frame != COMPLETE:
            return frame
        if request.command < 0:
            if begins_as_http(buf, start, self.content_end) or names_http_version(buf, start, self.content_end):
                return FOREIGN
            return self.refuse(request, UNKNOWN)
        request.expected = flags | cython.cast(cython.uchar, self.reply_kinds[request.command])
        form = self.forms[request.command]
        if form == RETRIEVAL or form == RETRIEVAL_TOUCH:
            return self.read_retrieval(buf, at, form, request)
        if form == STORAGE or form == CAS:
            return self.read_storage(buf, start, at, end, form, cursor, request)
        if form == META or form == META_SET:
            return self.read_meta(buf, start, at, end, form, cursor, request)
        if form == ARITHMETIC or form == TOUCH:
            return self.read_change(buf, at, form, request)
        if form == DELETE:
            return self.read_delete(buf, at, request)
        return self.read_keyless(buf, at, form, request)

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_meta(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        at: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        form: cython.int,
        cursor: Cursor,
        request: Request,
    ) -> Frame:
        problem: cython.int = NO_PROBLEM
        length: Length = NO_LENGTH
        letter: cython.uchar
        bit: cython.ulonglong
        seen: cython.ulonglong = 0
        encoded: cython.bint = False
        n_flags: cython.int = 0
        request.required_features = META_KNOWN
        at = self.next_token(buf, at)
        if not self.has_token():
            return self.refuse(request, self.too_few[request.command])
        if not self.is_key():
            problem = BAD_LINE
        self.take_key(request)
        if form == META_SET:
            at = self.next_token(buf, at)
            if not self.has_token():
                return self.refuse(request, BAD_LINE)
            length = self.read_length(buf)
        while True:
            at = self.next_token(buf, at)
            if not self.has_token():
                break
            n_flags += 1
            letter = buf[self.token_start]
            bit = 0
            if ord(b"A") <= letter <= ord(b"z"):
                bit = cython.cast(cython.ulonglong, 1) << (letter - ord(b"A"))
            if problem != NO_PROBLEM:
                pass
            elif seen & bit and (form == META_SET or letter == ord(b"q")):
                problem = self.bad_flags[request.command]
            elif form == META_SET:
                problem = self.flag_problem(buf) if n_flags <= MOST_FLAGS else MANY_FLAGS
            elif not self.token_clean:
                problem = BAD_LINE
            seen |= bit
            if letter == ord(b"b"):
                encoded = True
            elif letter == ord(b"q"):
                # Every request on a shared connection has a reply; only the client does not get this one.
                request.strip_start = self.token_start - 1 - self.line_start
                request.strip_end = self.token_end - self.line_start
                request.expected |= QUIET
        if encoded and problem == NO_PROBLEM:
            problem = self.decode_key(buf, request)
        if form == META_SET:
            return self.read_block(buf, start, end, length, problem, cursor, request)
        if problem != NO_PROBLEM:
            return self.refuse(request, problem)
        request.route = TO_KEY
        return COMPLETE

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def flag_problem(self, buf: cython.pointer[cython.const[cython.uchar]]) -> cython.int:
        """The problem with the current argument as a flag of ms."""
        kind: cython.int = self.flag_kinds[buf[self.token_start]]
        good: cython.bint = True
        size: cython.Py_ssize_t = self.token_end - self.token_start - 1
        if kind == NO_FLAG or not self.token_clean:
            return BAD_FLAG
        if kind == OPAQUE:
            return BAD_OPAQUE if size > MOST_OPAQUE else NO_PROBLEM
        if kind == MODE:
            if size != 1:
                return BAD_MODE_LENGTH
            return NO_PROBLEM if self.modes[buf[self.token_start + 1]] else BAD_MODE
        self.token_start += 1
        if kind == UNSIGNED_32:
            good = self.is_unsigned(buf, 32)
        elif kind == UNSIGNED_64:
            good = self.is_unsigned(buf, 64)
        elif kind == SIGNED_32:
            good = self.is_exptime(buf)
        self.token_start -= 1
        if good:
            return NO_PROBLEM
        return BAD_LINE if kind == UNSIGNED_32 else BAD_TOKEN

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def decode_key(self, buf: cython.pointer[cython.const[cython.uchar]], request: Request) -> cython.int:
        """Decode the key, which is base64 (RFC 4648, with padding), into ``decoded``; returns the problem with it.

        memcached shows such keys decoded in some of its replies (of an item that flag N has made, and in statistics).
        So a line feed in a key could end a reply, and begin bytes that another client takes for its own reply.
        """
        problem: cython.int = NO_PROBLEM
        at: cython.Py_ssize_t = self.line_start + request.key_start
        end: cython.Py_ssize_t = self.line_start + request.key_end
        bits: cython.uint = 0
        n_bits: cython.int = 0
        out: cython.Py_ssize_t = 0
        if (end - at) % 4 != 0:
            return self.bad_keys[request.command]
        if buf[end - 1] == ord(b"="):
            end -= 2 if buf[end - 2] == ord(b"=") else 1
        while at < end:
            if self.sextets[buf[at]] < 0:
                return self.bad_keys[request.command]
            bits = ((bits << 6) | cython.cast(cython.uint, self.sextets[buf[at]])) & 0xFFFF
            n_bits += 6
            if n_bits >= 8:
                n_bits -= 8
                request.decoded[out] = (bits >> n_bits) & 0xFF
                if request.decoded[out] == ord(b"\n"):
                    problem = LINE_FEED_IN_KEY
                out += 1
            at += 1
        request.key_start = 0
        request.key_end = out
        request.key_decoded = True
        return problem

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_keyless(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        at: cython.Py_ssize_t,
        form: cython.int,
        request: Request,
    ) -> Frame:
        surplus: cython.int
        clean: cython.bint = True
        if form == META_NOOP or form == QUIT:
            request.route = SLOW_PATH
            return COMPLETE
        if form == VERSION:
            self.count_surplus(buf, at, request)
            request.route = TO_ANY
            return COMPLETE
        if form == STATS:
            self.next_token(buf, at)
            if self.keyword(buf) == SIZES_ENABLE or self.keyword(buf) == SIZES_DISABLE:
                return self.refuse(request, ENDLESS_STATISTICS)
            request.route = SLOW_PATH
            while self.has_token():
                clean = clean and self.token_clean
                self.next_token(buf, self.token_end)
            return COMPLETE if clean else self.refuse(request, BAD_LINE)
        if form == VERBOSITY:
            at = self.next_token(buf, at)
            if not self.has_token():
                return self.refuse(request, UNKNOWN)
            clean = self.is_unsigned(buf, 32)
            surplus = self.count_surplus(buf, at, request)
            if surplus > 1:
                return self.refuse(request, UNKNOWN)
            if self.last_is_noreply:
                request.expected |= NOREPLY
            if not clean:
                return self.refuse(request, BAD_LINE)
            if not self.allowed[request.command]:
                return self.refuse(request, NOT_ALLOWED)
        elif form == FLUSH_ALL:
            surplus = 0
            self.next_token(buf, at)
            if self.has_token() and not (self.keyword(buf) == NOREPLY_WORD and self.token_end == self.content_end):
                clean = self.is_exptime(buf)
                surplus = 1
                at = self.token_end
            self.token_end = self.token_start
            surplus += self.count_surplus(buf, at, request)
            if surplus > 2:
                return self.refuse(request, UNKNOWN)
            if self.last_is_noreply:
                request.expected |= NOREPLY
            if not self.allowed[request.command]:
                return self.refuse(request, NOT_ALLOWED)
            if not clean:
                return self.refuse(request, BAD_EXPTIME)
        else:
            return self.refuse(request, NOT_AVAILABLE)
        request.route = BROADCAST
        request.merge = STATUS
        return COMPLETE
