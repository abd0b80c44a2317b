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
CROSS_SERVER = "CROSSSLOT Keys in request don't hash to the same server (use a hash tag)"
PATTERNS = (
    "ERR '{name}' with BY or GET looks at keys that may live on other servers: use a pool of one server, or sort in"
    " the client"
)
BLOCKING = (
    "ERR '{name}' with BLOCK is not available through this proxy: it blocks a connection that other clients share"
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
DB_OUT_OF_RANGE = "ERR DB index is out of range: this pool serves database {database} only"
NOT_AN_INTEGER = "ERR value is not an integer or out of range"
WRONG_ARITY = REFUSALS[2]


def error_reply(text: str) -> bytes:
    """An error reply line. Line ends in ``text`` become blanks, as redis does it."""
    line = text.replace("\r", " ").replace("\n", " ")
    return b"-" + line.encode("utf-8", "surrogateescape") + b"\r\n"
