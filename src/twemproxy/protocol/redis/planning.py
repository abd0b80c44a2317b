"""What becomes of the requests that have no place on the fast path.

Plain Python: the commands that the proxy answers, those for the whole pool, those that need a connection of their own,
and every request of a client that is in the middle of something (a transaction, say) are told apart here.
"""

from functools import cached_property
from typing import Any

from twemproxy.protocol.plan import PASS, Answer, Plan, Push, ToPrivate, ToServer
from twemproxy.protocol.redis import local, subscribing, transactions, whole_pool
from twemproxy.protocol.redis.commands import (
    BY_NAME,
    COMMAND_INFO,
    COMMANDS,
    SUBCOMMANDS,
    Command,
    CommandInfo,
    Routing,
    command_row,
    fits_arity,
)
from twemproxy.protocol.redis.connection_commands import out_of_range, wrong_arity
from twemproxy.protocol.redis.errors import (
    CROSS_SERVER,
    EXEC_REFUSED,
    IN_SUBSCRIPTION,
    IN_TRANSACTION,
    KEYLESS,
    NO_AUTH,
    ONE_SERVER_ONLY,
    PATTERNS,
    REFUSALS,
    UNKNOWN_SUBCOMMAND,
    WHILE_WATCHING,
    error_reply,
    unknown_command,
)
from twemproxy.protocol.redis.inline import decode_request, encode_request
from twemproxy.protocol.redis.keys import blocks, keys_of, other_databases, sort_keys
from twemproxy.protocol.redis.session import REPLY_ON, REPLY_SKIP, Session

TO_KEY, PLANNED, TO_NOBODY = 0, 6, 7
"""Of ``codec.Route``; compiled code has it."""

_NOT_QUEUED = ("discard", "exec", "multi", "watch")
_KEYLESS_IN_TRANSACTION = ("echo", "ping", "time", "unwatch")
_AT_ONCE = ("quit", "reset")
_NOT_RENAMED = (Routing.REFUSED, Routing.LOCAL, Routing.TRANSACTION, Routing.SUBSCRIPTION)
_IN_SUBSCRIPTION = ("ping", *_AT_ONCE)
_NOT_WHILE_WATCHING = ("hello", "select")

_MOVES_OFFSET = encode_request([b"PUBLISH", b"__twemproxy:wait", b""])
"""WAIT is about the writes of its own connection: this makes one, which replicas have after all earlier ones."""


def plan(codec: Any, request: bytes, session: Session) -> Plan:
    """As ``Codec.plan``; ``codec`` has just framed the request."""
    session.skipping = session.replies == REPLY_SKIP
    planned = _Request(codec, request, session).plan()
    if isinstance(planned, Answer) and not isinstance(planned, Push) and session.replies != REPLY_ON:
        return planned._replace(reply=b"")
    return planned


class _Pending(Exception):
    """It cannot be told yet what a command is."""


class _Refused(Exception):
    """A request that is answered with an error reply."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply


class _Request:
    """A request, with the row and the description that it goes by, once ``_identify`` has found them."""

    def __init__(self, codec: Any, request: bytes, session: Session) -> None:
        self.codec = codec
        self.request = request
        self.session = session
        if codec.command >= 0:
            self.name: str = COMMANDS[codec.command].name
        else:
            self.name = self.arguments[0].lower().decode("utf-8", "surrogateescape")
        self.row: Command | None = None
        self.info: CommandInfo | None = None

    @cached_property
    def arguments(self) -> list[bytes]:
        """What it is made of, its name first."""
        return decode_request(self.request)

    def plan(self) -> Plan:
        """What becomes of it."""
        session, routing = self.session, self._first_routing()
        if not session.authenticated and not local.needs_no_authentication(self.name):
            return Answer(error_reply(NO_AUTH))
        fits_subscription = self.name in _IN_SUBSCRIPTION or routing == Routing.SUBSCRIPTION
        try:
            if session.protocol == 2 and session.subscribed and not fits_subscription:
                return self._in_subscription()
            if session.transaction.open and self.name not in _AT_ONCE:
                return self._in_transaction()
            if session.transaction.watching:
                if self.name in _NOT_WHILE_WATCHING:
                    return Answer(error_reply(WHILE_WATCHING.format(name=self.name)))
                if routing != Routing.TRANSACTION and session.client.reservations().awaits_replies():
                    return None
            if self.codec.route != PLANNED:
                return PASS
            row = self._identify()
            return self._by_routing(row)
        except _Pending:
            return None
        except _Refused as refused:
            return Answer(refused.reply)

    def _in_subscription(self) -> Plan:
        """A request that does not fit in there: that it is none at all comes first."""
        if self.codec.route == TO_NOBODY:
            return PASS
        name = self.name
        if self.codec.command < 0:
            self._learn()
        elif len(self.arguments) > 1:
            whole = f"{name}|{self.arguments[1].decode('utf-8', 'replace').lower()}"
            name = whole if whole in COMMAND_INFO[name].subcommands else name
        text = IN_SUBSCRIPTION.format(name=name)
        if name == "exec":
            text = EXEC_REFUSED.format(reason=text.removeprefix("ERR "))
        return Answer(error_reply(text))

    # --- what it is ----------------------------------------------------------------------------------------------

    def _first_routing(self) -> Routing | None:
        """The routing of the command itself, whatever its sub-command; None for one that is not in the table."""
        return COMMANDS[self.codec.command].routing if self.codec.command >= 0 else None

    def _identify(self) -> Command:
        """Find the row of the request, that of a sub-command or of a command that only servers know included.

        Raises _Refused when it may not pass, or there is none.
        """
        if self.codec.command < 0:
            return self._learn()
        row = COMMANDS[self.codec.command]
        self.row, self.info = row, COMMAND_INFO[row.name]
        if self.codec.route == TO_NOBODY:
            raise _Refused(self.codec.refusal(self.request))
        if self.info.subcommands and (row.routing != Routing.KEY or self.codec.route == PLANNED):
            self._go_down(row, self.info)
        if self.row.routing == Routing.REFUSED:
            raise _Refused(error_reply(REFUSALS[3].format(name=self.row.name, reason=self.row.refusal)))
        return self.row

    def _go_down(self, container: Command, info: CommandInfo) -> None:
        """Take the row of the sub-command; that of CLIENT and COMMAND have none, but may be denied."""
        word = self.arguments[1].decode("utf-8", "replace") if len(self.arguments) > 1 else ""
        name = f"{container.name}|{word.lower()}"
        row = SUBCOMMANDS.get(name)
        if row is not None:
            self._check_permission(name, row.permission)
        if container.routing == Routing.LOCAL:
            return
        if row is None:
            raise self._no_subcommand(container.name)
        self._check_arity(name, row.arity)
        self.row, self.info = row, info.subcommands[name]

    def _no_subcommand(self, container: str) -> _Refused:
        """What to raise when a container has no such sub-command."""
        word = self.arguments[1].decode("utf-8", "replace") if len(self.arguments) > 1 else ""
        text = UNKNOWN_SUBCOMMAND.format(name=word[:128], container=container.upper())
        return _Refused(error_reply(text) if word else wrong_arity(container))

    def _check_arity(self, name: str, arity: int) -> None:
        if not fits_arity(arity, len(self.arguments)):
            raise _Refused(wrong_arity(name))

    def _check_permission(self, name: str, needed: bool) -> None:
        if text := self.codec.permission_refusal(name, needed):
            raise _Refused(error_reply(text))

    def _learn(self) -> Command:
        """Ask a server what a command is that the table does not have."""
        known, found = self.codec.lookups.find(self.name, self.session)
        if not known:
            raise _Pending
        if isinstance(found, bytes):
            raise _Refused(found)
        if found is None:
            raise _Refused(unknown_command(self.arguments))
        if found.own_name != self.name and found.own_name in BY_NAME:
            return self._renamed(COMMANDS[BY_NAME[found.own_name]])
        row = command_row(self.name, found)
        self.info = found
        if found.subcommands:
            word = self.arguments[1].lower().decode("utf-8", "replace") if len(self.arguments) > 1 else ""
            subcommands = {name.rpartition("|")[2]: sub for name, sub in found.subcommands.items()}
            if word not in subcommands:
                raise self._no_subcommand(self.name)
            self.info = subcommands[word]
            row = command_row(f"{self.name}|{word}", self.info)
        if row.routing == Routing.REFUSED and "admin" not in self.info.flags:
            # Nobody knows whether there is a key in it.
            row = row._replace(routing=Routing.ONLY_SERVER)
        elif row.routing == Routing.REFUSED:
            raise _Refused(error_reply(REFUSALS[3].format(name=row.name, reason=row.refusal)))
        self.row = row
        return row

    def _renamed(self, row: Command) -> Command:
        """The row of a command of the table that has another name at the servers, if that can do without the table's.

        One that is about the connection would be about everybody's.
        """
        name = row.name
        self.row, self.info = row, COMMAND_INFO[name]
        self._check_permission(name, row.permission)
        self._check_arity(self.name, row.arity)
        if self.info.subcommands and row.routing != Routing.KEY:
            self._go_down(row, self.info)
        if self.row.routing in _NOT_RENAMED:
            raise _Refused(error_reply(REFUSALS[3].format(name=self.name, reason=f"it is another name for '{name}'")))
        return self.row

    # --- where it goes -------------------------------------------------------------------------------------------

    def _keys(self) -> list[bytes]:
        """All its keys."""
        row, info, arguments = self.row, self.info, self.arguments
        assert row is not None
        assert info is not None
        if row.name in ("sort", "sort_ro"):
            keys, by_pattern = sort_keys(arguments)
            if by_pattern and self._servers() > 1:
                raise _Refused(error_reply(PATTERNS.format(name=row.name)))
            return keys
        keys = keys_of(info, arguments)
        if row.name == "migrate":
            # With KEYS there is an empty one in the place of the only one.
            return [key for key in keys if key]
        if not keys and row.first_key and not row.numkeys:
            # A channel, or the key of a container's sub-commands, which all have it in the same place.
            return arguments[row.first_key : row.first_key + 1]
        return keys

    def _server(self) -> int:
        """The server that has all its keys."""
        if self.codec.route == TO_KEY:
            return self._found(self.session.pool.find_server([self.codec.routing_key(self.request)]))
        return self._found(self.session.pool.find_server(self._keys()))

    def _found(self, server: int) -> int:
        if server >= 0:
            return server
        raise _Refused(error_reply(CROSS_SERVER) if server == -1 else self.session.pool.refused)

    def _servers(self) -> int:
        return len(self.session.pool.server_names())

    def _only_server(self) -> int:
        """The server of a pool that has but one."""
        assert self.row is not None
        if self._servers() > 1:
            raise _Refused(error_reply(ONE_SERVER_ONLY.format(name=self.row.name, servers=self._servers())))
        return self._found(self.session.pool.find_server([]))

    def _by_routing(self, row: Command) -> Plan:
        session = self.session
        match row.routing:
            case Routing.LOCAL:
                return local.answer(self.arguments, session)
            case Routing.TRANSACTION:
                return transactions.plan(row.name, self.arguments, session)
            case Routing.SUBSCRIPTION:
                return subscribing.plan(row, self.arguments, session)
            case Routing.EVERY_SERVER if row.merge == "one done":
                # A script that runs lets nothing pass on its own connection, nor SELECT on another.
                return self._on_private(row, 0)
            case Routing.EVERY_SERVER:
                return self._everywhere(row)
            case Routing.BLOCKING if row.merge:
                # WAIT and WAITAOF: for all writes up to now.
                return self._on_private(row, session.profile, _MOVES_OFFSET)
            case Routing.BLOCKING:
                return self._block()
            case Routing.SEARCHED_KEYS:
                return self._searched(row)
            case Routing.ANY_SERVER:
                return ToServer(self._found(session.pool.find_server([])))
            case Routing.ONLY_SERVER:
                return ToServer(self._only_server())
            case Routing.COUNTED_KEYS:
                self._check_keys(row)
        return ToServer(self._server())

    def _check_keys(self, row: Command) -> None:
        """Where keys are counted there must be some, unless a pool has one server."""
        if self._servers() > 1 and not self._keys():
            raise _Refused(error_reply(KEYLESS.format(name=row.name, servers=self._servers())))

    def _everywhere(self, row: Command) -> Plan:
        self._check_databases(row)
        self._see_scripts(row)
        return whole_pool.plan(row, self.request, self.arguments, self.session)

    def _see_scripts(self, row: Command) -> None:
        """Remember what SCRIPT LOAD and EVAL bring, and forget with SCRIPT FLUSH."""
        if row.name == "script|load":
            self.codec.scripts.remember(self.arguments[2])
        elif row.name in ("eval", "eval_ro"):
            self.codec.scripts.remember(self.arguments[1])
        elif row.name == "script|flush":
            self.codec.scripts.forget()

    def _searched(self, row: Command) -> Plan:
        if row.name in ("xread", "xreadgroup") and blocks(self.arguments):
            return self._block()
        self._check_databases(row)
        return ToServer(self._server())

    def _check_databases(self, row: Command) -> None:
        """Databases that the request names must be the pool's; what is no number is the server's to refuse."""
        session = self.session
        for word in other_databases(row.name, self.arguments):
            number = int(word) if word.isdigit() and len(word) < 10 else -1
            known = number < session.databases if session.databases > 1 else number == session.database
            if not known and number >= 0:
                raise _Refused(error_reply(out_of_range(session)))

    # --- on connections of the client's own ------------------------------------------------------------------------

    def _block(self) -> Plan:
        """Send it where it harms nobody by waiting."""
        server = self._server()
        ready = self.session.client.reservations().reserve(server, self.session.profile, patient=True)
        if isinstance(ready, bytes):
            raise _Refused(ready)
        return ToPrivate(server, last=True) if ready else None

    def _on_private(self, row: Command, profile: int, *before: bytes) -> Plan:
        """Send it to every server, where nothing but ``before`` stands before it."""
        session = self.session
        reservations = session.client.reservations()
        everything_ready = True
        for server in range(self._servers()):
            ready = reservations.reserve(server, profile, before, patient=True)
            if isinstance(ready, bytes):
                if session.client.awaits_replies():
                    return None
                # Not those that are kept: something may be watched there.
                reservations.give_back(True)
                raise _Refused(ready)
            everything_ready = everything_ready and ready
        if not everything_ready:
            return None
        return whole_pool.on_private(row, self.request, self._servers())

    def _in_transaction(self) -> Plan:
        """Queue it at the server of the transaction, if it can be a part of it."""
        session, routing = self.session, self._first_routing()
        if self.name in _NOT_QUEUED and self.codec.route != TO_NOBODY:
            return transactions.plan(self.name, self.arguments, session)
        try:
            server: int | None = None
            row = self._identify()
            if self.name not in _KEYLESS_IN_TRANSACTION:
                if routing == Routing.LOCAL or row.routing in (Routing.LOCAL, Routing.SUBSCRIPTION):
                    raise _Refused(error_reply(IN_TRANSACTION.format(name=row.name)))
                server = self._server_in_transaction(row)
            elif self._servers() == 1:
                server = self._only_server()
            self._see_scripts(row)
        except _Refused as refused:
            return transactions.refuse(refused.reply, session)
        return transactions.queue(self.request, server, session)

    def _server_in_transaction(self, row: Command) -> int:
        self._check_databases(row)
        match row.routing:
            case Routing.EVERY_SERVER | Routing.ANY_SERVER | Routing.ONLY_SERVER:
                if self._servers() > 1:
                    raise _Refused(error_reply(IN_TRANSACTION.format(name=row.name)))
                return self._only_server()
            case Routing.BLOCKING if row.merge:
                return self._only_server()
            case Routing.COUNTED_KEYS:
                self._check_keys(row)
        return self._server()
