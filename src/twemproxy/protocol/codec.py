"""What the proxy asks of a protocol: where messages end, which keys they name, how they split and merge.

Sans-IO, dual: pointers are only ever indexed, so the interpreter runs the same lines over ``bytes``. A codec
keeps no bytes and no connection: it looks at a buffer and leaves what it found in its fields, which are good
until the next call. One codec per worker and pool serves all connections, in turn.
"""

import cython

if not cython.compiled:
    from typing import Any

    from twemproxy.protocol.plan import Plan

    Frame = int
    Route = int
    Merge = int
    NEED_MORE, COMPLETE, SKIP, REWRITE, MALFORMED = range(5)
    TO_KEY, TO_ANY, TO_ONLY, TO_EACH, TO_ALL, TO_SAME, PLANNED, TO_NOBODY = range(8)
    VALUES, SUM, STATUS, IN_WORDS = range(4)
    RESP3, QUIET, MUTED = 0x20, 0x40, 0x80
    REST_OF_LINE, ARGUMENTS = -1, -2

# The key of a decoded request has at most so many bytes.
MAX_DECODED = 256


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_number(out: cython.p_uchar, at: cython.Py_ssize_t, number: cython.longlong) -> cython.Py_ssize_t:
    """Write ``number`` in decimal at ``out[at]``; returns the position behind it. At most 20 bytes."""
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
    """A protocol. ``buf[start:end]`` is always the bytes at hand; positions are positions in ``buf``.

    What a request asks for, beside its ``route``:

    - ``cut_start`` to ``cut_end``: bytes of it that are not forwarded; equal when there are none.
    - ``swallow``: how many bytes behind ``end`` belong to it and are dropped unseen, or REST_OF_LINE, or ARGUMENTS.
      ``swallow_arguments`` is how many arguments follow behind that.
    - ``expected``: what kind of reply its server owes, and whether the client wants it (QUIET, MUTED). It is kept
      with the request, and set again before its reply is framed or judged; ``greeting_expected`` is that of the
      greeting.
    - ``demand``: what its server must offer (see ``offer``), 0 for nothing special.
    - ``repairable``: an error reply may be one that ``repaired`` knows an answer to; ``notable``: to know it, ``note``
      has to see this request.
    - ``key_decoded``: the key is not spelt in the request but stands in ``decoded``, from 0 to ``key_end``.

    ``matches_keys``: values in replies are found by their keys, so the request is kept until they are there.
    """

    def __init__(self) -> None:
        self.end = 0
        self.needed = 0
        self.resume_at = 0
        self.resume_left = 0
        self.command = -1
        self.problem = 0
        self.found = 0
        self.route = TO_NOBODY
        self.merge = VALUES
        self.items = 0
        self.key_start = 0
        self.key_end = 0
        self.key_decoded = False
        self.decoded = bytearray(MAX_DECODED)
        self.item_start = 0
        self.item_end = 0
        self.cut_start = 0
        self.cut_end = 0
        self.swallow = 0
        self.swallow_arguments = 0
        self.expected = 0
        self.greeting_expected = 0
        self.demand = 0
        self.repairable = False
        self.notable = False
        self.matches_keys = False

    # --- framing ---------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def frame_request(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> Frame:
        """Find the request at ``start``, which is below ``end``.

        COMPLETE sets ``end``, ``route`` and what belongs to it. After NEED_MORE call again with the same bytes and
        more, once there are ``needed`` of them counted from ``start``, with ``resume_at`` and ``resume_left`` as
        they were left; both are 0 for a request not looked at before.
        """
        return MALFORMED

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def pass_over(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> Frame:
        """Find out how the request at ``start`` can be dropped, which ``frame_request`` just answered with NEED_MORE.

        COMPLETE sets ``end`` and ``swallow``, NEED_MORE changes nothing: it cannot be told yet.
        """
        return NEED_MORE

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def pass_argument(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> Frame:
        """As ``pass_over``, for the argument at ``start`` of a request that is being dropped; can be MALFORMED."""
        return MALFORMED

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def frame_reply(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> Frame:
        """Find the reply at ``start``, of the kind ``expected``; works as ``frame_request``, but sets only ``end``."""
        return MALFORMED

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_repeatable(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.bint:
        """Whether a complete request, as it is forwarded, changes nothing on its server, however often it is sent.

        Leaves all fields as they are.
        """
        return False

    # --- splitting and merging -------------------------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def first_item(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.void:
        """Go to the first key of a complete request routed TO_EACH: sets ``key_*`` and ``item_*``.

        The item is what a sub-request repeats for this key: the key with its framing, and its value if any.
        """

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def next_item(self, buf: cython.pointer[cython.const[cython.uchar]], end: cython.Py_ssize_t) -> cython.void:
        """Go to the next key; not to be called behind the last."""

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
        """Write what stands before the items of a sub-request of the request just framed in ``buf``.

        Returns its length, at most 128.
        """
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_sub_request_end(self, out: cython.p_uchar) -> cython.Py_ssize_t:
        """Write what stands behind the items of a sub-request; returns its length, at most 8."""
        return 0

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
        """Whether a complete sub-reply is what a request for ``items`` keys is answered with.

        Sets ``item_start`` to where its first value, or its integer, stands.
        """
        return False

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
        """The position behind the value of ``request[key_start:key_end]``, if it is at ``start``, else ``start``.

        The first value of a mergeable sub-reply is at ``item_start``, each other behind the one before.
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
        """Write a merged SUM, for VALUES what stands before the values; returns its length, at most 128."""
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_missing(self, out: cython.p_uchar) -> cython.Py_ssize_t:
        """Write what stands for a missing value among merged ones; returns its length, at most 8."""
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def put_merged_end(self, out: cython.p_uchar) -> cython.Py_ssize_t:
        """Write what stands behind merged values; returns its length, at most 8."""
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
        """Whether a complete reply is an error that says the server cannot serve at present."""
        return False

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_unasked(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.bint:
        """Whether a complete message of a server answers no request."""
        return False

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_nominal(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.bint:
        """Whether a complete reply of the kind ``expected`` is the one that a QUIET request does without."""
        return False

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_integer(
        self, buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.longlong:
        """The decimal integer at ``start``, up to the first other byte; at most 18 digits."""
        number: cython.longlong = 0
        negative: cython.bint = start < end and buf[start] == ord(b"-")
        if negative:
            start += 1
        while start < end and ord(b"0") <= buf[start] <= ord(b"9"):
            number = number * 10 + (buf[start] - ord(b"0"))
            start += 1
        return -number if negative else number

    # --- the same over ``bytes``, for tests and tools ------------------------------------------------------------

    def find_request(
        self,
        data: bytes,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        resume_at: cython.Py_ssize_t = 0,
        resume_left: cython.Py_ssize_t = 0,
    ) -> int:
        """``frame_request`` of ``data``, resumed as told; returns the Frame."""
        self.resume_at = resume_at
        self.resume_left = resume_left
        return self.frame_request(data, start, end)

    def find_reply(
        self,
        data: bytes,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        resume_at: cython.Py_ssize_t = 0,
        resume_left: cython.Py_ssize_t = 0,
    ) -> int:
        """``frame_reply`` of ``data``, resumed as told; returns the Frame."""
        self.resume_at = resume_at
        self.resume_left = resume_left
        return self.frame_reply(data, start, end)

    def repeats(self, request: bytes) -> bool:
        """What ``is_repeatable`` says of it."""
        return self.is_repeatable(request, 0, len(request))

    def find_rest(self, data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> int:
        """``pass_over`` of ``data``; returns the Frame."""
        return self.pass_over(data, start, end)

    def find_argument(self, data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> int:
        """``pass_argument`` of ``data``; returns the Frame."""
        return self.pass_argument(data, start, end)

    def split(self, data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> "list[tuple[bytes, bytes]]":
        """(key, item) for every key of the request just found at ``start``, which is routed TO_EACH."""
        items = []
        left: cython.Py_ssize_t = self.items
        self.first_item(data, start, end)
        while True:
            items.append((data[self.key_start : self.key_end], data[self.item_start : self.item_end]))
            left -= 1
            if left == 0:
                return items
            self.next_item(data, end)

    def sub_request(self, request: bytes, command: cython.int, items: cython.Py_ssize_t) -> "tuple[bytes, bytes]":
        """What stands before and behind so many items in a sub-request of the request just framed."""
        head = bytearray(128)
        tail = bytearray(8)
        length: cython.Py_ssize_t = self.put_sub_request(head, request, command, items)
        tail_length: cython.Py_ssize_t = self.put_sub_request_end(tail)
        return bytes(head[:length]), bytes(tail[:tail_length])

    def mergeable_part(self, reply: bytes, merge: Merge, keys: "list[bytes]") -> "list[bytes] | int | None":
        """What a complete sub-reply for these keys brings to the merged one.

        Its values in the order of the keys, empty for a missing one, its integer, or no values for a status; None if it
        is unmergeable.
        """
        values = []
        key: bytes
        at: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        if not self.is_mergeable(reply, 0, len(reply), merge, len(keys)):
            return None
        at = self.item_start
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
        """What ``put_merged`` writes."""
        out = bytearray(128)
        length: cython.Py_ssize_t = self.put_merged(out, merge, items, total)
        return bytes(out[:length])

    def merged_end(self) -> bytes:
        """What ``put_merged_end`` writes."""
        out = bytearray(8)
        length: cython.Py_ssize_t = self.put_merged_end(out)
        return bytes(out[:length])

    def missing(self) -> bytes:
        """What ``put_missing`` writes."""
        out = bytearray(8)
        length: cython.Py_ssize_t = self.put_missing(out)
        return bytes(out[:length])

    def is_unwanted(self, reply: bytes) -> bool:
        """Whether the client of a request with ``expected`` does not want this complete reply."""
        if self.expected & MUTED:
            return True
        return bool(self.expected & QUIET) and self.is_nominal(reply, 0, len(reply))

    def decoded_key(self) -> bytes:
        """The key of a request with ``key_decoded``."""
        return bytes(self.decoded[: self.key_end])

    def kinds(self, reply: bytes) -> "tuple[bool, bool, bool]":
        """Whether a complete reply is an error, a transient one, and unasked for."""
        return (
            self.is_error(reply, 0, len(reply)),
            self.is_transient_error(reply, 0, len(reply)),
            self.is_unasked(reply, 0, len(reply)),
        )

    # --- in words: rare, ordinary Python -----------------------------------------------------------------------

    def rewrite(self, request: bytes) -> bytes:
        """The request that ``frame_request`` called REWRITE, in the form that is forwarded.

        Raises ValueError with the problem's text when it has none.
        """
        raise NotImplementedError

    def refusal(self, request: bytes) -> bytes:
        """The error reply to the complete request just framed, which is routed TO_NOBODY."""
        raise NotImplementedError

    def large_refusal(self, limit: int) -> bytes:
        """The error reply to the request just framed, or begun, which is longer than ``limit`` bytes."""
        raise NotImplementedError

    def keys(self, request: bytes, servers: int) -> "list[bytes]":
        """The keys of a request routed TO_SAME to a pool of so many servers.

        Raises ValueError with the reason, for clients, why such a pool cannot serve it.
        """
        raise NotImplementedError

    def keys_refusal(self, reason: str = "") -> bytes:
        """The error reply to a request routed TO_SAME whose keys live on several servers, or another reason."""
        raise NotImplementedError

    def only_refusal(self, request: bytes, servers: int) -> bytes:
        """The error reply to a request routed TO_ONLY in a pool of several servers."""
        raise NotImplementedError

    def malformation(self, text: str = "") -> bytes:
        """The last reply to a client whose bytes are MALFORMED, ``text`` if given, else what ``problem`` says."""
        raise NotImplementedError

    def missing_reply(self, request: bytes, resp3: bool) -> bytes:
        """What a server that has none of its keys answers to a plain read; empty for any other request.

        ``request`` is complete, as it is forwarded; ``resp3``: whether the reply is for a client of RESP3.
        """
        return b""

    def error(self, text: str) -> bytes:
        """An error reply with this text."""
        raise NotImplementedError

    def plan(self, request: bytes, session: "Any") -> "Plan":
        """What becomes of the request just framed, which is routed PLANNED, or is that of an attended session.

        It may be asked for again, with nothing changed, as long as its answer is None, ToServer or Ask, or PASS.
        """
        raise NotImplementedError

    def session(self, pool: "Any", client: "Any") -> "Any":
        """The state of a new client of this pool (``proxy.server_pool.ServerPool`` and ``proxy.client``).

        It says whether each of its requests must be planned (``attended``), which ``replies`` it wants (0 all, 1 none,
        2 not the next), on which ``profile`` of server connections its requests travel, 0 for the default one, what is
        ``expected`` of replies because of it, and which server ``queues_to`` means, -1 for none: there requests with
        one key go on the client's private connection without being planned. It is told when a planned request has been
        ``taken``, when one was ``spoilt``, which got an error without being looked at, and when the client has
        ``ended``.
        """
        raise NotImplementedError

    def note(self, request: bytes) -> None:
        """Look at a ``notable`` request that is being sent."""

    def repaired(self, request: bytes, reply: bytes) -> bytes:
        """The form of a ``repairable`` request that will do better than with this error reply; empty for none."""
        return b""

    def match_values(self, reply: bytes, keys: "list[bytes]") -> "list[tuple[int, int]] | None":
        """Where the value of each key stands in a mergeable sub-reply that has them in another order.

        (n, n) for a missing one; None when it has a value that no key asked for.
        """
        return None

    def merge_in_words(self, replies: "list[tuple[str, bytes]]") -> bytes:
        """One reply made of those of every server, (name, reply), for a request to be merged IN_WORDS.

        A server that did not answer has the proxy's own error as its reply.
        """
        raise NotImplementedError

    # --- what clients subscribe to, see proxy.subscriptions ------------------------------------------------------

    def subscription(self, kind: str, name: bytes) -> bytes:
        """The request that subscribes to a topic of this kind."""
        raise NotImplementedError

    def unsubscription(self, kind: str, name: bytes) -> bytes:
        """The request that ends it."""
        raise NotImplementedError

    def read_message(self, message: bytes) -> "tuple[str, str, bytes]":
        """(what, kind, name) of a message of a server on a connection for subscriptions.

        ``what`` is ``published``, or the answer to a request above: ``confirmed``, ``ended`` or ``refused``, which says
        nothing of the topic. Raises ValueError for what is none of these.
        """
        raise NotImplementedError

    def comes_from_anywhere(self, kind: str, name: bytes) -> bool:
        """Whether messages of a topic may come from another server than that of a key of its name."""
        return True

    # --- greetings -----------------------------------------------------------------------------------------------

    def handshake(self, settings: "Any", profile: int) -> "list[tuple[str, bytes]]":
        """What a new server connection of this profile says first: (what it is, for messages; the request)."""
        return []

    def handshake_problem(self, step: str, reply: bytes) -> str:
        """Empty when the reply to that step of the handshake is fine, else what the server said."""
        return ""

    def declines_profile(self, step: str) -> bool:
        """Whether a server that does not like that step of the handshake just does not speak what the profile wants."""
        return False

    def probe(self) -> bytes:
        """The request that asks a server how it is."""
        raise NotImplementedError

    def is_well(self, reply: bytes) -> bool:
        """Whether the reply to that is the one of a server that can serve."""
        raise NotImplementedError

    def offer(self, step: str, reply: bytes) -> int:
        """What the reply to that step of the handshake says that a server offers: bits that ``demand`` is made of."""
        return 0

    def unmet(self) -> str:
        """Why a server that does not offer what ``demand`` asks for cannot serve a request."""
        return ""
