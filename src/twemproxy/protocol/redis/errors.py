"""All error texts of the redis side of the proxy.

Texts that redis has are redis's, so that clients recognise them; other texts say what, where and what to do.
"""

from typing import NamedTuple

# Framing errors, in the order of the positions that ``framing.py`` uses. The connection closes after one.
PROTOCOL_ERRORS = (
    "",
    "Protocol error: invalid multibulk length",
    "Protocol error: invalid bulk length",
    "Protocol error: expected '$', got '{found}'",
    "Protocol error: a bulk string does not end with CR LF where its length says",
    "Protocol error: too big inline request",
    "Protocol error: too big mbulk count string",
    "Protocol error: too big bulk count string",
    "Protocol error: unauthenticated multibulk length",
    "Protocol error: unauthenticated bulk length",
)

# Errors for whole requests, in the order of the positions that ``framing.py`` uses. The connection stays open.
REFUSALS = (
    "",
    "ERR unknown command '{name}', with args beginning with: {arguments}",
    "ERR wrong number of arguments for '{name}' command",
    "ERR '{name}' is not available through this proxy: {reason}",
    "ERR value is not an integer or out of range",
    "ERR Number of keys can't be greater than number of args",
    "ERR Number of keys can't be negative",
    "ERR the proxy itself looks into '{name}', and takes requests of at most 4 MB for it",
)


SYNTAX_ERROR = "ERR syntax error"


class CountErrors(NamedTuple):
    """The errors of a command for a wrong number of keys; ``{name}`` is the command's name."""

    no_integer: str = REFUSALS[4]
    too_many: str = REFUSALS[5]
    negative: str = REFUSALS[6]
    zero: str = ""
    """Empty for a command that needs no keys."""


_POSITIVE = "ERR numkeys should be greater than 0"
_ONE_AT_LEAST = "ERR at least 1 input key is needed for '{name}' command"
_BAD_NUMBER = "ERR Bad number of keys provided"
_FUNCTIONS = CountErrors(no_integer=_BAD_NUMBER)
_POPS = CountErrors(_POSITIVE, SYNTAX_ERROR, _POSITIVE, _POSITIVE)
_CARDINALITIES = CountErrors(no_integer=_POSITIVE, negative=_POSITIVE, zero=_POSITIVE)
_SORTED_SETS = CountErrors(too_many=SYNTAX_ERROR, negative=_ONE_AT_LEAST, zero=_ONE_AT_LEAST)

_COUNT_ERRORS = {
    **dict.fromkeys(("fcall", "fcall_ro"), _FUNCTIONS),
    **dict.fromkeys(("lmpop", "zmpop"), _POPS),
    **dict.fromkeys(("sdiffcard", "sintercard", "sunioncard"), _CARDINALITIES),
    **dict.fromkeys(("zdiff", "zinter", "zintercard", "zunion"), _SORTED_SETS),
}
"""The texts of redis 7.0 and valkey 9.1 for commands that have their own."""

KEYLESS = (
    "ERR '{name}' without keys cannot be routed in a pool of {servers} servers: name at least one key, or use a"
    " pool of one server"
)
ONE_SERVER_ONLY = (
    "ERR '{name}' names no key that tells the server, and this pool has {servers}: ask one server directly, or use a"
    " pool of one server"
)
MANY_ARGUMENTS = (
    "ERR '{name}' with more than {most} arguments is not available through this proxy, which would have to look at all"
    " of them"
)
LONG_TOPIC = "ERR '{name}' takes channels and patterns of at most {most} bytes here"
CROSS_SERVER = "CROSSSLOT Keys in request don't hash to the same server (use a hash tag)"
PATTERNS = (
    "ERR '{name}' with BY or GET looks at keys that may live on other servers: use a pool of one server, or sort in"
    " the client"
)
UNBALANCED_QUOTES = "Protocol error: unbalanced quotes in request"
NO_AUTH = "NOAUTH Authentication required"
HELLO_NEEDS_AUTH = (
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass>"
    " option can be used to authenticate the client and select the RESP protocol version at the same time"
)
NO_PROTOCOL = "NOPROTO unsupported protocol version"
BAD_PASSWORD = "ERR invalid password"
UNKNOWN_USER = "WRONGPASS invalid username-password pair or user is disabled."
NO_PASSWORD_SET = "ERR Client sent AUTH, but no password is set"
DBS_OUT_OF_RANGE = (
    "ERR DB index is out of range: this pool serves {databases} databases, 'databases' in its configuration says so"
)
DB_REFUSED = "ERR DB index is out of range: the servers of this pool have no database {database}"
DB_OUT_OF_RANGE = (
    "ERR DB index is out of range: this pool serves database {database} only, 'databases' in its configuration allows"
    " more"
)
TOO_LARGE = (
    "ERR the request is longer than {limit} bytes, dropped: 'max_request_bytes' in the pool's configuration allows more"
)
NOT_AN_INTEGER = "ERR value is not an integer or out of range"
WRONG_ARITY = REFUSALS[2]
CLUSTER_DISABLED = "ERR This instance has cluster support disabled"

NOT_ALLOWED = "ERR '{name}' is not allowed in this pool: 'allow_commands: {name}' in its configuration allows it"
DENIED = "ERR '{name}' is not available in this pool: 'deny_commands' in its configuration refuses it"
UNKNOWN_SUBCOMMAND = "ERR unknown subcommand '{name}'. Try {container} HELP."
MISFIT = "ERR '{name}' went to every server, and their replies do not fit together: ask the servers one by one"
UNFIT = (
    "ERR the replies to this client's requests cannot be told apart: a script has written line ends, or over 1 MB, into"
    " its error or status; the requests may have run"
)
UNFENCED = (
    "BUSY the server is busy with a script, which SCRIPT KILL or FUNCTION KILL ends; the request may have run before"
)
NO_ECHO = (
    "ERR '{name}' is not available: the servers of this pool refuse ECHO, without which the proxy cannot keep apart"
    " what the scripts of different clients say"
)
INVALID_CURSOR = "ERR invalid cursor"
CURSOR_TOO_LARGE = (
    "ERR SCAN cannot go on: the cursor of server '{server}' is larger than {most}, which is the most that fits into a"
    " cursor for several servers"
)
IN_SUBSCRIPTION = (
    "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this"
    " context"
)
IN_TRANSACTION = (
    "ERR '{name}' is not available in a transaction through this proxy, which takes place on the server of its keys"
)
WHILE_WATCHING = "ERR '{name}' is not available while keys are watched: UNWATCH first"
TOO_MANY_QUEUED = "ERR too many commands without keys before the first one with a key in a transaction"
NESTED_MULTI = "ERR MULTI calls can not be nested"
WATCH_IN_MULTI = "ERR WATCH inside MULTI is not allowed"
EXEC_WITHOUT_MULTI = "ERR EXEC without MULTI"
DISCARD_WITHOUT_MULTI = "ERR DISCARD without MULTI"
EXEC_REFUSED = "EXECABORT Transaction discarded because of: {reason}"
EXEC_ABORTED = "EXECABORT Transaction discarded because of previous errors."
EXEC_LAPSED = "EXECABORT Transaction discarded because its client said nothing for a minute, nothing of it was executed"
KEYS_MOVED = "ERR keys of this transaction have moved to another server, so EXEC will do nothing: begin it again"
EXEC_MOVED = "EXECABORT Transaction discarded because its keys have moved to another server, nothing of it was executed"
EXEC_LOST = "EXECABORT Transaction discarded because its server connection was lost, nothing of it was executed"


def error_reply(text: str) -> bytes:
    """An error reply line. Line ends in ``text`` become blanks, as in redis."""
    line = text.replace("\r", " ").replace("\n", " ")
    return b"-" + line.encode("utf-8", "surrogateescape") + b"\r\n"


def not_available(name: str, reason: str) -> bytes:
    """The error reply to a command that is not available.

    ``reason``: a clause about "it", or redis's own complete text, which begins with its error code.
    """
    return error_reply(reason if reason.startswith("ERR ") else REFUSALS[3].format(name=name, reason=reason))


def count_errors(name: str) -> CountErrors:
    """The errors of a command with counted keys for a wrong number of them."""
    return _COUNT_ERRORS.get(name, CountErrors())


def keyless(name: str, servers: int) -> bytes:
    """The error reply to a command with counted keys that has none, in a pool of ``servers`` servers, two or more."""
    return error_reply(count_errors(name).zero.format(name=name) or KEYLESS.format(name=name, servers=servers))


MOST_SHOWN = 64
"""Most arguments, with the name, that ``unknown_command`` shows."""


def unknown_command(arguments: list[bytes]) -> bytes:
    """The error reply to an unknown command, with the beginning of its arguments, as in redis.

    ``arguments``: the first MOST_SHOWN are enough.
    """
    name = arguments[0][:128].partition(b"\0")[0].decode("utf-8", "surrogateescape")
    return error_reply(REFUSALS[1].format(name=name, arguments=shown_arguments(arguments[1:]), reason=""))


def shown_arguments(arguments: list[bytes]) -> str:
    """The beginning of a request's arguments, as redis shows them: about 128 bytes, quoted, each up to a NUL."""
    shown = b""
    for argument in arguments:
        if len(shown) >= 128:
            break
        shown += b"'%s' " % argument[: 128 - len(shown)].partition(b"\0")[0]
    return shown.decode("utf-8", "surrogateescape")
