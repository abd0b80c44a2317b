"""Everything the redis side of the proxy says on its own account, once.

Texts that redis has are redis's, so that clients recognise them; the others name what, where and what to do.
"""

# Framing errors, in the order of the positions ``framing.py`` uses. The connection ends after one.
PROTOCOL_ERRORS = (
    "",
    "Protocol error: invalid multibulk length",
    "Protocol error: invalid bulk length",
    "Protocol error: expected '$', got '{found}'",
    "Protocol error: a bulk string does not end with CR LF where its length says",
    "Protocol error: too big inline request",
    "Protocol error: this is an HTTP request on a redis port",
    "Protocol error: too big mbulk count string",
    "Protocol error: too big bulk count string",
)

# Refusals of whole requests, in the order of the positions ``framing.py`` uses. The connection goes on.
REFUSALS = (
    "",
    "ERR unknown command '{name}', with args beginning with: {arguments}",
    "ERR wrong number of arguments for '{name}' command",
    "ERR '{name}' is not available through this proxy: {reason}",
    "ERR value is not an integer or out of range",
    "ERR Number of keys can't be greater than number of args",
    "ERR Number of keys can't be negative",
)

KEYLESS = (
    "ERR '{name}' without keys cannot be routed in a pool of {servers} servers: name at least one key, or use a"
    " pool of one server"
)
ONE_SERVER_ONLY = (
    "ERR '{name}' names no key that tells the server, and this pool has {servers}: ask one server directly, or use a"
    " pool of one server"
)
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
SYNTAX_ERROR = "ERR syntax error"
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


NOT_ALLOWED = "ERR '{name}' is not allowed in this pool: 'allow_commands: {name}' in its configuration allows it"
DENIED = "ERR '{name}' is not available in this pool: 'deny_commands' in its configuration refuses it"
UNKNOWN_SUBCOMMAND = "ERR unknown subcommand '{name}'. Try {container} HELP."
MISFIT = "ERR '{name}' went to every server, and their replies do not fit together: ask the servers one by one"
INVALID_CURSOR = "ERR invalid cursor"
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
EXEC_LOST = "EXECABORT Transaction discarded because its server connection was lost, nothing of it was executed"


def error_reply(text: str) -> bytes:
    """An error reply line. Line ends in ``text`` become blanks, as redis does it."""
    line = text.replace("\r", " ").replace("\n", " ")
    return b"-" + line.encode("utf-8", "surrogateescape") + b"\r\n"


def unknown_command(arguments: list[bytes]) -> bytes:
    """The error reply to a command that does not exist, with the beginning of its arguments, as redis has it."""
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
