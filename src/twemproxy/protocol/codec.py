"""The interface of a protocol: it frames messages, finds keys, and splits and merges requests.

Sans-IO, dual: pointers are only indexed, so the interpreter runs the same code over ``bytes``. A codec keeps no bytes,
no connection and no request: results go into the objects that it is given, see ``protocol.request``. One codec per
worker and pool serves all connections.
"""

from collections.abc import Collection

import cython

from twemproxy.protocol.handshake import Handshake
from twemproxy.protocol.pubsub import PubsubMessages

if not cython.compiled:
    from typing import Any

    from twemproxy.protocol.plan import Plan
    from twemproxy.protocol.request import (
        MALFORMED,
        NEED_MORE,
        NOREPLY,
        QUIET,
        SUM,
        VALUES,
        Cursor,
        Frame,
        Item,
        Merge,
        Request,
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_number(out: cython.p_uchar, at: cython.Py_ssize_t, number: cython.longlong) -> cython.Py_ssize_t:
    """Write ``number`` in decimal at ``out[at]``, up to 20 bytes; returns the position after it."""
    digits: cython.int = 1
    left: cython.ulonglong = cython.cast(cython.ulonglong, number)
    rest: cython.ulonglong
    i: cython.Py_ssize_t
    if number < 0:
        out[at] = ord(b"-")
        at += 1
        # Unsigned, because the smallest number has no positive counterpart.
        left = 0 - left
    rest = left // 10
    while rest > 0:
        digits += 1
        rest = rest // 10
    i = at + digits - 1
    while i >= at:
        out[i] = ord(b"0") + left % 10
        left = left // 10
        i -= 1
    return at + digits


@cython.cclass
class Codec:
    """A protocol. ``buf[start:end]`` is always the available bytes.

    ``errors_end_values``: an error may follow values and end the reply. ``matches_keys``: values in replies are found
    by their keys, so the request is kept until its replies have arrived. ``handshake_expected``: the
    ``Request.expected`` of the handshake.

    ``handshake``: what the proxy says to servers for itself, a ``protocol.handshake.Handshake``. ``pubsub``: the
    messages of subscriptions, a ``protocol.pubsub.PubsubMessages``.
    """

    def __init__(self) -> None:
        self.errors_end_values = False
        self.handshake_expected = 0
        self.handshake = Handshake()
        self.pubsub = PubsubMessages()
        self.matches_keys = False

    # --- framing ---------------------------------------------------------------------------------------------

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
        """Frame the request at ``start``, which is below ``end``.

        ``confined``: apply the limits for clients that have not authenticated. ``flags``: the client's part of
        ``Request.expected``.

        COMPLETE fills ``request``. COMPLETE, EMPTY and INLINE set ``cursor.length``. After NEED_MORE call again with
        the same cursor, and the same bytes and more, when there are ``cursor.needed`` of them. ``cursor.at`` is 0 after
        any other result than NEED_MORE and MALFORMED.
        """
        return MALFORMED

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def skip_request(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        cursor: Cursor,
        request: Request,
    ) -> Frame:
        """Find out how to discard the request at ``start``, for which ``frame_request`` has just returned NEED_MORE.

        COMPLETE sets ``cursor.length``, which may be less than the available bytes, and in ``request`` what is to be
        discarded after that. NEED_MORE changes nothing: more bytes are necessary.
        """
        return NEED_MORE

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def skip_argument(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        cursor: Cursor,
        request: Request,
    ) -> Frame:
        """As ``skip_request``, for the argument at ``start`` of a request that is being discarded; or MALFORMED."""
        return MALFORMED

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def frame_reply(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        expected: cython.uchar,
        cursor: Cursor,
    ) -> Frame:
        """Frame the reply at ``start`` to a request with this ``expected``; works as ``frame_request``."""
        return MALFORMED

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_repeatable(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.bint:
        """Whether a complete request, as it is forwarded, may be sent several times because it changes nothing.

        Changes no field.
        """
        return False

    # --- requests with several keys for one server ---------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def begin_keys(self, request: Request, item: Item) -> cython.bint:
        """Prepare ``item`` for ``next_key``; returns False if ``keys`` must find those of this COLOCATED request."""
        return False

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def next_key(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, request: Request, item: Item
    ) -> cython.bint:
        """Find the next key of the complete request at ``start``; returns False after the last one."""
        return False

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def has_script(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, request: Request
    ) -> cython.bint:
        """Whether the script of the complete ``remembers_script`` request at ``start`` is remembered already."""
        return False

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
        """Find the first item of a complete SCATTER request at ``start``."""

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def next_item(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, item: Item
    ) -> cython.void:
        """Find the next item of the same request; do not call it after the last item."""

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
        """The position after the first ``count`` of the items at ``at``; ``merge``: that of their request.

        ``end``: the end of the request's items, of which there are at least ``count``.
        """
        return end

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
        """Write the beginning of a sub-request with this number of ``items``; the whole request is at ``start``.

        Returns the length, up to 128.
        """
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_sub_request_end(self, out: cython.p_uchar) -> cython.Py_ssize_t:
        """Write the end of a sub-request, which follows its items; returns the length, up to 8."""
        return 0

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
        """The position of the first value, or of the integer, of a complete sub-reply to a request for ``items`` keys.

        -1 if the reply does not fit such a request.
        """
        return -1

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
        """The position after the value of ``request[key_start:key_end]`` if it is at ``start``, otherwise ``start``.

        The first value of a sub-reply is where ``find_values`` says, each other value follows the one before.
        """
        return start

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_values_end(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.bint:
        """Whether a mergeable sub-reply has no more values at ``start``."""
        return start == end

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_merged(
        self, out: cython.p_uchar, merge: Merge, items: cython.Py_ssize_t, total: cython.longlong
    ) -> cython.Py_ssize_t:
        """Write a merged SUM, or the beginning of merged VALUES; returns the length, up to 128."""
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_missing(self, out: cython.p_uchar, expected: cython.uchar) -> cython.Py_ssize_t:
        """Write the form of a missing value among merged values; returns the length, up to 8.

        ``expected``: that of the request.
        """
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_merged_end(self, out: cython.p_uchar) -> cython.Py_ssize_t:
        """Write the end of merged values; returns the length, up to 8."""
        return 0

    # --- replies ---------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_error(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.bint:
        """Whether a complete reply is an error."""
        return False

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_transient_error(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.bint:
        """Whether a complete reply is an error of a server that cannot serve at present."""
        return False

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_push(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.bint:
        """Whether a complete message of a server is not a reply to a request."""
        return False

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_suppressible(
        self,
        buf: cython.pointer[cython.const[cython.uchar]],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        expected: cython.uchar,
    ) -> cython.bint:
        """Whether a QUIET request suppresses this complete reply; ``expected``: that of the request."""
        return False

    # --- fences, see upstream.fenced --------------------------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_fence(self, out: cython.p_uchar, token: cython.pointer[cython.const[cython.uchar]]) -> cython.Py_ssize_t:
        """Write a fence with ``token``, 16 hexadecimal digits that its reply repeats; returns the length, up to 64."""
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_fence_reply(
        self, out: cython.p_uchar, token: cython.pointer[cython.const[cython.uchar]]
    ) -> cython.Py_ssize_t:
        """Write the reply to a fence with ``token``; returns the length, up to 64."""
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_urgent_fence(
        self, out: cython.p_uchar, token: cython.pointer[cython.const[cython.uchar]]
    ) -> cython.Py_ssize_t:
        """As ``put_fence``, for a fence that every server answers, with a line of up to 128 bytes with the token."""
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_integer(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.longlong:
        """The decimal integer at ``start``, which ends before the first other byte; up to 18 digits."""
        number: cython.longlong = 0
        negative: cython.bint = start < end and buf[start] == ord(b"-")
        if negative:
            start += 1
        while start < end and ord(b"0") <= buf[start] <= ord(b"9"):
            number = number * 10 + (buf[start] - ord(b"0"))
            start += 1
        return -number if negative else number

    def permit(self, permitted: Collection[str], denied: Collection[str]) -> None:
        """Serve with these permissions from now on.

        ``permitted``: the commands that need permission and have it. ``denied``: further commands that are refused.
        """
        raise NotImplementedError

    # --- for tests and tools: the same with ``bytes`` ------------------------------------------------------------

    def find_request(
        self,
        data: bytes,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        cursor: Cursor,
        request: Request,
        confined: cython.bint = False,
    ) -> int:
        """``frame_request`` of ``data``; returns the Frame."""
        return self.frame_request(data, start, end, confined, 0, cursor, request)

    def find_reply(
        self, data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t, expected: cython.uchar, cursor: Cursor
    ) -> int:
        """``frame_reply`` of ``data``; returns the Frame."""
        return self.frame_reply(data, start, end, expected, cursor)

    def repeats(self, request: bytes) -> bool:
        """``is_repeatable`` of a request."""
        return self.is_repeatable(request, 0, len(request))

    def find_rest(
        self, data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t, cursor: Cursor, request: Request
    ) -> int:
        """``skip_request`` of ``data``; returns the Frame."""
        return self.skip_request(data, start, end, cursor, request)

    def find_argument(
        self, data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t, cursor: Cursor, request: Request
    ) -> int:
        """``skip_argument`` of ``data``; returns the Frame."""
        return self.skip_argument(data, start, end, cursor, request)

    def found_keys(self, data: bytes, start: cython.Py_ssize_t, request: Request) -> "list[bytes] | None":
        """The keys that ``next_key`` finds in the request at ``start``, None if ``begin_keys`` returns False."""
        keys = []
        item: Item = Item()
        if not self.begin_keys(request, item):
            return None
        while self.next_key(data, start, request, item):
            keys.append(data[start + item.key_start : start + item.key_end])
        return keys

    def has_script_of(self, data: bytes, start: cython.Py_ssize_t, request: Request) -> bool:
        """As ``has_script``."""
        return self.has_script(data, start, request)

    def split(self, data: bytes, start: cython.Py_ssize_t, request: Request) -> "list[tuple[bytes, bytes]]":
        """(key, item) for each key of the SCATTER request at ``start``."""
        items = []
        item: Item = Item()
        left: cython.Py_ssize_t = request.items
        self.first_item(data, start, request, item)
        while True:
            items.append(
                (data[start + item.key_start : start + item.key_end], data[start + item.start : start + item.end])
            )
            left -= 1
            if left == 0:
                return items
            self.next_item(data, start, item)

    def sub_request(self, data: bytes, request: Request, items: cython.Py_ssize_t) -> "tuple[bytes, bytes]":
        """The beginning and the end of a sub-request with this number of items; the whole request begins ``data``."""
        head = bytearray(128)
        tail = bytearray(8)
        length: cython.Py_ssize_t = self.put_sub_request(head, data, 0, request, items)
        tail_length: cython.Py_ssize_t = self.put_sub_request_end(tail)
        return bytes(head[:length]), bytes(tail[:tail_length])

    def mergeable_part(self, reply: bytes, merge: Merge, keys: "list[bytes]") -> "list[bytes] | int | None":
        """The part of a complete sub-reply for these keys that is merged.

        VALUES: the values in the order of the keys, empty for a missing one. SUM: the integer. STATUS: an empty list.
        None if the reply is not mergeable.
        """
        values = []
        key: bytes
        at: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        at = self.find_values(reply, 0, len(reply), merge, len(keys))
        if at < 0:
            return None
        if merge == SUM:
            return self.read_integer(reply, at, len(reply))
        if merge != VALUES:
            return []
        for key in keys:
            stop = self.take_value(reply, at, len(reply), key, 0, len(key))
            values.append(reply[at:stop])
            at = stop
        if self.is_values_end(reply, at, len(reply)):
            return values
        places = self.match_values(reply, keys)
        return None if places is None else [reply[first:behind] for first, behind in places]

    def merged(self, merge: Merge, items: cython.Py_ssize_t, total: cython.longlong) -> bytes:
        """The bytes that ``put_merged`` writes."""
        out = bytearray(128)
        length: cython.Py_ssize_t = self.put_merged(out, merge, items, total)
        return bytes(out[:length])

    def merged_end(self) -> bytes:
        """The bytes that ``put_merged_end`` writes."""
        out = bytearray(8)
        length: cython.Py_ssize_t = self.put_merged_end(out)
        return bytes(out[:length])

    def missing(self, expected: cython.uchar = 0) -> bytes:
        """The bytes that ``put_missing`` writes."""
        out = bytearray(8)
        length: cython.Py_ssize_t = self.put_missing(out, expected)
        return bytes(out[:length])

    def is_unwanted(self, reply: bytes, expected: cython.uchar) -> bool:
        """Whether a client does not want this complete reply to its request with this ``expected``."""
        if expected & NOREPLY:
            return True
        return bool(expected & QUIET) and self.is_suppressible(reply, 0, len(reply), expected)

    def kinds(self, reply: bytes) -> "tuple[bool, bool, bool]":
        """Whether a complete reply is an error, a transient error, and a push."""
        return (
            self.is_error(reply, 0, len(reply)),
            self.is_transient_error(reply, 0, len(reply)),
            self.is_push(reply, 0, len(reply)),
        )

    def fence(self, token: bytes) -> "tuple[bytes, bytes, bytes]":
        """The bytes that ``put_fence``, ``put_fence_reply`` and ``put_urgent_fence`` write."""
        out = bytearray(64)
        length: cython.Py_ssize_t = self.put_fence(out, token)
        request = bytes(out[:length])
        length = self.put_fence_reply(out, token)
        reply = bytes(out[:length])
        length = self.put_urgent_fence(out, token)
        return request, reply, bytes(out[:length])

    # --- rare, ordinary Python ---------------------------------------------------------------------------------

    def rewrite(self, data: bytes) -> bytes:
        """The forwarded form of a request for which ``frame_request`` has returned INLINE.

        Raises ValueError with the error text if there is none.
        """
        raise NotImplementedError

    def piece_head(self, prefix: bytes) -> bytes:
        """The head for ``piece`` of a SCATTER request; ``prefix``: the bytes before its items."""
        raise NotImplementedError

    def piece(self, head: bytes, items: bytes, arguments: int) -> bytes:
        """A request for some of the items, which have ``arguments`` arguments; ``head``: from ``piece_head``."""
        raise NotImplementedError

    def refusal(self, request: Request) -> bytes:
        """The error reply to a REJECT request."""
        raise NotImplementedError

    def large_refusal(self, request: Request, limit: int) -> bytes:
        """The error reply to a request, maybe incomplete, that is longer than ``limit`` bytes."""
        raise NotImplementedError

    def keys(self, data: bytes, request: Request, servers: int) -> "list[bytes]":
        """The keys of a COLOCATED request with the bytes ``data``, in a pool of ``servers`` servers.

        Raises ValueError with the text for clients if such a pool cannot serve it.
        """
        raise NotImplementedError

    def keys_refusal(self, reason: str = "") -> bytes:
        """The error reply to a COLOCATED request whose keys are on several servers, or with another reason."""
        raise NotImplementedError

    def only_refusal(self, request: Request, servers: int) -> bytes:
        """The error reply to a SINGLE_SERVER request in a pool of several servers."""
        raise NotImplementedError

    def malformation(self, request: Request) -> bytes:
        """The last reply to a client whose bytes are MALFORMED."""
        raise NotImplementedError

    def missing_reply(self, data: bytes, resp3: bool) -> bytes:
        """The reply of a server without any of the keys of a plain read; empty for any other request.

        ``data``: the complete request, as it is forwarded. ``resp3``: whether the client uses RESP3.
        """
        return b""

    def says_error(self, reply: bytes) -> bool:
        """``is_error`` of a complete reply."""
        return self.is_error(reply, 0, len(reply))

    def error(self, text: str) -> bytes:
        """An error reply with this text."""
        raise NotImplementedError

    def plan(self, data: bytes, request: Request, session: "Any", complete: bool = True) -> "Plan":
        """The plan for a SLOW_PATH request, or for any request of a session that needs planning.

        ``data``: the bytes of the request; if not ``complete``, only the first ones. The method may be called again for
        the same request, without other effects, if the result is None, MORE, ToServer, Ask or PASS.
        """
        raise NotImplementedError

    def session(self, pool: "Any", client: "Any") -> "Any":
        """The state of a new client of this pool; see ``upstream.server_pool.ServerPool`` and ``downstream.client``.

        Its attributes: ``needs_planning``: each request must be planned. ``replies``: the replies that the client
        wants, 0 all, 1 none, 2 not the next one. ``profile``: the profile of server connections for its requests, 0 the
        default. ``expected``: the session's part of ``Request.expected``. ``transaction_server``: the server for which
        requests with one key go to the client's private connection without a plan, -1 for none.

        Its methods: ``on_dispatched``: a planned request was sent or answered. ``on_rejected``: a request got an error
        without a plan. ``on_close``: the client is closed.
        """
        raise NotImplementedError

    def moving(self, session: "Any", number: int, seconds: int) -> bytes:
        """The message that tells a client to connect again within ``seconds``; empty if it wants none.

        ``number``: of the event that is the reason; a later event has a larger one.
        """
        return b""

    def command_name(self, row: int) -> str:
        """The name of a command by its row in the table; empty for an unknown command."""
        return ""

    def arguments_of(self, head: bytes) -> "list[bytes]":
        """The arguments in the first bytes of a request, for people: without secrets, the last one cut."""
        return []

    def logged_keys(self, data: bytes, request: Request, longest: int) -> "tuple[bytes, int]":
        """The first key of a request, up to ``longest`` bytes, and the number of keys; (b"", 0) if none is found.

        Only for requests that are neither TO_KEY nor SCATTER. ``data``: the request, or its beginning.
        """
        return b"", 0

    def remember_script(self, data: bytes) -> None:
        """Remember the script of a ``remembers_script`` request that has succeeded."""

    def retry_form(self, data: bytes, reply: bytes) -> bytes:
        """The form of a ``retryable`` request that may succeed after this error reply; empty for none."""
        return b""

    def meet(self, others: "Any") -> None:
        """Tell the same codec in other workers what it needs, see ``protocol.other_workers``."""

    def match_values(self, reply: bytes, keys: "list[bytes]") -> "list[tuple[int, int]] | None":
        """(start, end) of the value of each key in a mergeable sub-reply with values in another order.

        (n, n) for a missing value; None if the reply has a value that was not requested.
        """
        return None

    def merge_replies(self, replies: "list[tuple[str, bytes]]") -> bytes:
        """Merge the replies of all servers, (name, reply), to a CUSTOM request into one reply.

        For a server that did not answer, the reply is the proxy's own error.
        """
        raise NotImplementedError

    def is_tainted(self, profile: int) -> bool:
        """Whether clients can decide the text of replies, line ends included, on connections of this profile."""
        return False

    def unfit_reply(self) -> bytes:
        """The error reply to requests whose replies cannot be told apart because a client has shaped them."""
        return b""

    def unfenced_reply(self) -> bytes:
        """The error reply to requests because the server did not answer a fence."""
        return b""
