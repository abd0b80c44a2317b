"""Requests of memcached's text protocol: where one ends, which key it names, and whether it may be forwarded.

Sans-IO, dual. ``ClassicRequests`` reads lines and the classic commands, this class on top of it tells all commands
apart and reads the others. The wire format is memcached's doc/protocol.txt.
"""

from array import array
from collections.abc import Collection

import cython

from twemproxy.protocol.memcache.commands import COMMANDS, META_SET_FLAGS, MODES

if not cython.compiled:
    from twemproxy.protocol.codec import (
        COMPLETE,
        IN_WORDS,
        MUTED,
        PLANNED,
        QUIET,
        STATUS,
        TO_ALL,
        TO_ANY,
        TO_KEY,
        Frame,
    )
    from twemproxy.protocol.memcache.classic_requests import NO_LENGTH, ClassicRequests, Length

# Bytes of an opaque flag behind its letter.
MOST_OPAQUE = cython.declare(cython.const[cython.Py_ssize_t], 31)

# Flags of ms. memcached refuses more without dropping the data block, which it takes for commands then.
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
NOREPLY = cython.declare(cython.const[cython.int], 0)
SERVERS = cython.declare(cython.const[cython.int], 2)
SIZES_ENABLE = cython.declare(cython.const[cython.int], 3)
SIZES_DISABLE = cython.declare(cython.const[cython.int], 4)

# What ``Codec.demand`` is made of here: a server that knows the meta commands as they are now.
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
    ) -> Frame:
        form: cython.int
        frame: Frame = self.find_line(buf, start, end)
        at: cython.Py_ssize_t = self.token_end
        self.cut_start = 0
        self.cut_end = 0
        self.swallow = 0
        self.demand = 0
        self.expected = 0
        self.key_decoded = False
        if frame != COMPLETE:
            return frame
        if self.command < 0:
            return self.refuse(UNKNOWN)
        self.expected = cython.cast(cython.uchar, self.reply_kinds[self.command])
        form = self.forms[self.command]
        if form == RETRIEVAL or form == RETRIEVAL_TOUCH:
            return self.read_retrieval(buf, at, form)
        if form == STORAGE or form == CAS:
            return self.read_storage(buf, start, at, end, form)
        if form == META or form == META_SET:
            return self.read_meta(buf, start, at, end, form)
        if form == ARITHMETIC or form == TOUCH:
            return self.read_change(buf, at, form)
        if form == DELETE:
            return self.read_delete(buf, at)
        return self.read_keyless(buf, at, form)

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
    ) -> Frame:
        problem: cython.int = NO_PROBLEM
        length: Length = NO_LENGTH
        letter: cython.uchar
        bit: cython.ulonglong
        seen: cython.ulonglong = 0
        encoded: cython.bint = False
        n_flags: cython.int = 0
        self.demand = META_KNOWN
        at = self.next_token(buf, at)
        if not self.has_token():
            return self.refuse(self.too_few[self.command])
        if not self.is_key():
            problem = BAD_LINE
        self.key_start = self.token_start
        self.key_end = self.token_end
        if form == META_SET:
            at = self.next_token(buf, at)
            if not self.has_token():
                return self.refuse(BAD_LINE)
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
                problem = self.bad_flags[self.command]
            elif form == META_SET:
                problem = self.flag_problem(buf) if n_flags <= MOST_FLAGS else MANY_FLAGS
            elif not self.token_clean:
                problem = BAD_LINE
            seen |= bit
            if letter == ord(b"b"):
                encoded = True
            elif letter == ord(b"q"):
                # Every request on a shared connection has a reply; the client just does not get it.
                self.cut_start = self.token_start - 1
                self.cut_end = self.token_end
                self.expected |= QUIET
        if encoded and problem == NO_PROBLEM:
            problem = self.decode_key(buf)
        if form == META_SET:
            return self.read_block(buf, start, end, length, problem)
        if problem != NO_PROBLEM:
            return self.refuse(problem)
        self.route = TO_KEY
        return COMPLETE

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def flag_problem(self, buf: cython.pointer[cython.const[cython.uchar]]) -> cython.int:
        """What is wrong with the flag of ms that the argument is."""
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
    def decode_key(self, buf: cython.pointer[cython.const[cython.uchar]]) -> cython.int:
        """Put the key, which is base64 (RFC 4648, with padding), into ``decoded``; what is wrong with it otherwise.

        memcached shows such keys as they are in some of its replies (of an item that flag N has made, and in
        statistics), so that a line feed in one could end a reply and begin what another client takes for its own.
        """
        problem: cython.int = NO_PROBLEM
        at: cython.Py_ssize_t = self.key_start
        end: cython.Py_ssize_t = self.key_end
        bits: cython.uint = 0
        n_bits: cython.int = 0
        out: cython.Py_ssize_t = 0
        if (end - at) % 4 != 0:
            return self.bad_keys[self.command]
        if buf[end - 1] == ord(b"="):
            end -= 2 if buf[end - 2] == ord(b"=") else 1
        while at < end:
            if self.sextets[buf[at]] < 0:
                return self.bad_keys[self.command]
            bits = ((bits << 6) | cython.cast(cython.uint, self.sextets[buf[at]])) & 0xFFFF
            n_bits += 6
            if n_bits >= 8:
                n_bits -= 8
                self.decoded[out] = (bits >> n_bits) & 0xFF
                if self.decoded[out] == ord(b"\n"):
                    problem = LINE_FEED_IN_KEY
                out += 1
            at += 1
        self.key_start = 0
        self.key_end = out
        self.key_decoded = True
        return problem

    @cython.final
    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_keyless(
        self, buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, form: cython.int
    ) -> Frame:
        surplus: cython.int
        clean: cython.bint = True
        if form == META_NOOP or form == QUIT:
            self.route = PLANNED
            return COMPLETE
        if form == VERSION:
            self.count_surplus(buf, at)
            self.route = TO_ANY
            return COMPLETE
        if form == STATS:
            self.next_token(buf, at)
            if self.keyword(buf) == SIZES_ENABLE or self.keyword(buf) == SIZES_DISABLE:
                return self.refuse(ENDLESS_STATISTICS)
            self.route = TO_ALL
            self.merge = IN_WORDS
            if not self.has_token() or (self.keyword(buf) == SERVERS and self.token_end == self.content_end):
                self.route = PLANNED
            while self.has_token():
                clean = clean and self.token_clean
                self.next_token(buf, self.token_end)
            return COMPLETE if clean else self.refuse(BAD_LINE)
        if form == VERBOSITY:
            at = self.next_token(buf, at)
            if not self.has_token():
                return self.refuse(UNKNOWN)
            clean = self.is_unsigned(buf, 32)
            surplus = self.count_surplus(buf, at)
            if surplus > 1:
                return self.refuse(UNKNOWN)
            if self.last_is_noreply:
                self.expected |= MUTED
            if not clean:
                return self.refuse(BAD_LINE)
        elif form == FLUSH_ALL:
            surplus = 0
            self.next_token(buf, at)
            if self.has_token() and not (self.keyword(buf) == NOREPLY and self.token_end == self.content_end):
                clean = self.is_exptime(buf)
                surplus = 1
                at = self.token_end
            self.token_end = self.token_start
            surplus += self.count_surplus(buf, at)
            if surplus > 2:
                return self.refuse(UNKNOWN)
            if self.last_is_noreply:
                self.expected |= MUTED
            if not self.allowed[self.command]:
                return self.refuse(NOT_ALLOWED)
            if not clean:
                return self.refuse(BAD_EXPTIME)
        else:
            return self.refuse(NOT_AVAILABLE)
        self.route = TO_ALL
        self.merge = STATUS
        return COMPLETE
