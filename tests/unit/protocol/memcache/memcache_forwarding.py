"""Checks of forwarded requests: a server gets exactly one request, and replies to it exactly once."""

from typing import Any

from feeding import BROADCAST, COMPLETE, NOREPLY, QUIET, SCATTER, TO_ANY, TO_KEY

from twemproxy.protocol.memcache.commands import COMMANDS, MOST_KEY, Form

FORWARDED = (TO_KEY, TO_ANY, SCATTER, BROADCAST)
META = (Form.META, Form.META_SET)
# Forms whose last argument may be spelt like noreply: memcached takes it for a key, or for the name of statistics.
KEYS_ONLY = (Form.RETRIEVAL, Form.RETRIEVAL_TOUCH, Form.STATS)
PLACE_OF_LENGTH = {Form.STORAGE: 4, Form.CAS: 4, Form.META_SET: 2}


def check_forwarded(codec: Any, request: bytes) -> None:
    """Check that the forwarded part of ``request``, which was just framed, is one request that gets a reply."""
    route, command, key_decoded = codec.route, codec.command, codec.key_decoded
    key = codec.decoded_key() if key_decoded else request[codec.key_start : codec.key_end]
    forwarded = request[: codec.strip_start] + request[codec.strip_end :]
    assert codec.discard == 0
    form = COMMANDS[command].form
    line, newline, block = forwarded.partition(b"\n")
    assert newline == b"\n"
    line = line.removesuffix(b"\r")
    assert all(byte >= 32 and byte != 127 for byte in line)
    assert len(line) <= 2046 or form == Form.RETRIEVAL
    arguments = line.split()
    assert arguments[0].decode() == COMMANDS[command].name
    if form not in PLACE_OF_LENGTH:
        assert block == b""
    else:
        length = int(arguments[PLACE_OF_LENGTH[form]])
        assert (len(block), block[length:]) == (length + 2, b"\r\n")
        assert arguments[PLACE_OF_LENGTH[form]].isdigit()
    if form in META:
        flags = arguments[3:] if form == Form.META_SET else arguments[2:]
        assert not [flag for flag in flags if flag.startswith(b"q")]
        if form == Form.META_SET:
            assert len(flags) <= 16
    elif form not in KEYS_ONLY and len(arguments) > 2:
        assert arguments[-1] != b"noreply"
    if route == TO_KEY:
        assert 1 <= len(key) <= MOST_KEY
        if not key_decoded:
            assert key in arguments
    assert codec.find_request(forwarded, 0, len(forwarded)) == COMPLETE
    assert (codec.end, codec.route, codec.command) == (len(forwarded), route, command)
    assert forwarded[: codec.strip_start] + forwarded[codec.strip_end :] == forwarded
    assert not codec.expected & (QUIET | NOREPLY)
    if route == TO_KEY:
        assert key == (codec.decoded_key() if codec.key_decoded else forwarded[codec.key_start : codec.key_end])


def check_stream(codec: Any, stream: bytes) -> None:
    """Apply ``check_forwarded`` to every request that begins at the start of the stream or of one of its lines."""
    starts = {0} | {at + 1 for at in range(len(stream)) if stream[at] == 10}
    for start in sorted(starts - {len(stream)}):
        if codec.find_request(stream, start, len(stream)) == COMPLETE and codec.route in FORWARDED:
            request = stream[start : codec.end]
            assert codec.find_request(request, 0, len(request)) == COMPLETE
            check_forwarded(codec, request)
