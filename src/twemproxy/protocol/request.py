"""The results of framing: a request, a key of a request, and the cursor where framing continues.

Dual. Codecs fill these objects, callers pass them on. All positions count from the start of the message.
"""

import cython

if not cython.compiled:
    Frame = int
    Route = int
    Merge = int
    NEED_MORE, COMPLETE, EMPTY, INLINE, MALFORMED, FOREIGN = range(6)
    TO_KEY, TO_ANY, SINGLE_SERVER, SCATTER, BROADCAST, COLOCATED, SLOW_PATH, REJECT, TO_CHANNEL = range(9)
    VALUES, SUM, STATUS, CUSTOM = range(4)
    RESP3, QUIET, NOREPLY = 0x20, 0x40, 0x80
    REST_OF_LINE, ARGUMENTS = -1, -2

# Most bytes of a decoded key.
MAX_DECODED = 256


@cython.final
@cython.cclass
class Cursor:
    """The place where framing of an incomplete message continues; it belongs to one connection.

    ``at``: the position where framing continues, 0 for a new message. ``left``: the number of arguments or values from
    there on, for the codec only. ``needed``: bytes of the message at which framing can continue. ``length``: that of a
    complete message.
    """

    def __init__(self, at: cython.Py_ssize_t = 0, left: cython.Py_ssize_t = 0) -> None:
        self.at = at
        self.left = left
        self.needed = 0
        self.length = 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def restart(self) -> cython.void:
        """Begin with a new message."""
        self.at = 0


@cython.final
@cython.cclass
class Request:
    """A complete request: what its client asks for, and what its server needs. The bytes are the caller's.

    - ``command``: its row in the table of commands, -1 for an unknown command. ``arguments``: their number.
      ``command_class``: a ``protocol.command_classes.CommandClass``.
    - ``route``: where it goes. ``merge``: how replies are merged if it goes to several servers.
    - ``key_start`` to ``key_end``: the key that decides the server. With ``key_decoded`` the key is not in the
      request's bytes but in ``decoded``, from 0 to ``key_end``.
    - ``items``: the number of its keys. The items, a key with its value if any, are at ``items_start`` to
      ``items_end``. ``prefix_start`` to ``prefix_end``: the bytes that each sub-request repeats before its items.
    - ``strip_start`` to ``strip_end``: bytes that are not forwarded; equal for none.
    - ``discard``: the number of bytes after it that belong to it and are discarded, or REST_OF_LINE, or ARGUMENTS.
      ``discard_arguments``: the number of arguments that are discarded after these bytes.
    - ``expected``: the kind of reply, which is needed to frame and check the reply, and which replies the client wants
      (RESP3, QUIET, NOREPLY).
    - ``required_features``: the features that its server must have (see ``Handshake.features``), 0 for none.
    - ``profile_needed``: bits that the profile of its server connection must have, see ``Codec.session``.
    - ``retryable``: ``Codec.retry_form`` may have another form of it after an error reply. ``remembers_script``: pass
      it to ``Codec.remember_script`` when it has succeeded.
    - ``problem``, ``found``: why it is refused or malformed, and the wrong byte.
    """

    def __init__(self) -> None:
        self.command = -1
        self.route = REJECT
        self.merge = VALUES
        self.items = 0
        self.items_start = 0
        self.items_end = 0
        self.arguments = 0
        self.key_start = 0
        self.key_end = 0
        self.key_decoded = False
        self.decoded = bytearray(MAX_DECODED)
        self.prefix_start = 0
        self.prefix_end = 0
        self.strip_start = 0
        self.strip_end = 0
        self.discard = 0
        self.discard_arguments = 0
        self.expected = 0
        self.required_features = 0
        self.command_class = 0
        self.profile_needed = 0
        self.retryable = False
        self.remembers_script = False
        self.problem = 0
        self.found = 0

    def decoded_key(self) -> bytes:
        """The key of a request with ``key_decoded``."""
        return bytes(self.decoded[: self.key_end])


@cython.final
@cython.cclass
class Item:
    """One key of a request that is split, at ``key_start`` to ``key_end``, and the bytes that a sub-request repeats.

    ``start`` to ``end``: the key with its framing, and its value if any. ``arguments``: the number of arguments in
    these bytes; ``last``: the end of the last item; ``index``: that of the next argument; all three are for the codec
    only.
    """

    def __init__(self) -> None:
        self.start = 0
        self.end = 0
        self.key_start = 0
        self.key_end = 0
        self.arguments = 1
        self.last = 0
        self.index = 0
