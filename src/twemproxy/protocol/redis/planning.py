"""Plans the requests that are not on the fast path.

Plain Python, for the commands that the proxy answers, commands for the whole pool, commands that need a private
connection, and all requests of clients with a special state, such as a transaction.
"""

from collections.abc import Generator
from functools import cached_property, partial
from typing import Any, TypeVar

from twemproxy.protocol.plan import MORE, PASS, Answer, Ask, Blocking, Plan, Push, Server, Steps, ToPrivate, ToServer
from twemproxy.protocol.redis import builtin_commands, fan_out_commands, pubsub_commands, transactions
from twemproxy.protocol.redis.blocking import TIMEOUTS, after_waiting
from twemproxy.protocol.redis.commands import (
    BY_NAME,
    COMMAND_INFO,
    COMMANDS,
    SHAPES_REPLIES,
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
    DENIED,
    EXEC_REFUSED,
    IN_SUBSCRIPTION,
    IN_TRANSACTION,
    MANY_ARGUMENTS,
    MOST_SHOWN,
    NO_AUTH,
    NO_ECHO,
    ONE_SERVER_ONLY,
    PATTERNS,
    UNKNOWN_SUBCOMMAND,
    WHILE_WATCHING,
    error_reply,
    keyless,
    not_available,
    unknown_command,
)
from twemproxy.protocol.redis.inline import LONGEST_NAME, count_arguments, decode_request, decode_some, encode_request
from twemproxy.protocol.redis.keys import MOST_LOOKED_UP, NAMES_DATABASES, blocks, keys_of, other_databases, sort_keys
from twemproxy.protocol.redis.session import REPLY_ON, REPLY_SKIP, Session, profile_of

TO_KEY, SLOW_PATH, REJECT = 0, 6, 7
"""Values of ``request.Route``, for plain Python."""

_NOT_QUEUED = ("discard", "exec", "multi", "watch")
_KEYLESS_IN_TRANSACTION = ("echo", "ping", "time", "unwatch")
_AT_ONCE = ("quit", "reset")
_NOT_RENAMED = (Routing.REFUSED, Routing.LOCAL, Routing.TRANSACTION, Routing.SUBSCRIPTION)
_IN_SUBSCRIPTION = ("ping", *_AT_ONCE)

_MOVES_OFFSET = encode_request([b"PUBLISH", b"__twemproxy:wait", b""])
"""WAIT is about the writes of its own connection: this is one, which replicas receive after all earlier writes."""


def plan(codec: Any, data: bytes, request: Any, session: Session, complete: bool = True) -> Plan:
    """As ``Codec.plan``."""
    session.skips_reply = session.replies == REPLY_SKIP
    try:
        planned: Plan = _Request(codec, data, request, session, complete).plan()
    except _Incomplete:
        return MORE
    if session.replies == REPLY_ON:
        return planned
    if isinstance(planned, Steps) and not planned.messages:
        return planned._replace(work=_without_reply(planned.work))
    return _unanswered(planned)


_P = TypeVar("_P", bound=Plan)


def _unanswered(planned: _P) -> _P:
    """The plan for a client that wants no reply."""
    if isinstance(planned, Answer) and not isinstance(planned, Push):
        return planned._replace(reply=b"")
    return planned


def _without_reply(
    work: Generator[bytes | None, None, Answer | Ask],
) -> Generator[bytes | None, None, Answer | Ask]:
    """The work for a client that wants no reply."""
    try:
        while True:
            part = next(work)
            yield part and b""
    except StopIteration as end:
        plan: Answer | Ask = end.value
        return _unanswered(plan)


class _Pending(Exception):
    """The request has to wait for the description of its command."""


class _Incomplete(Exception):
    """All bytes of the request are needed."""


class _Refused(Exception):
    """The request gets an error reply."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply


class _Request:
    """A request; ``row`` and ``info``: the row and description of its command, set by ``_identify``.

    ``keys``: its keys, after ``_server``; None if they are not known, because an only server has all keys.
    """

    def __init__(self, codec: Any, beginning: bytes, request: Any, session: Session, complete: bool) -> None:
        """``beginning``: the request's first bytes, ``complete``: all of them.

        ``request``: the result of framing, a ``protocol.request.Request``.
        """
        self.codec = codec
        self.beginning = beginning
        self.complete = complete
        self.request = request
        self.session = session
        if request.command >= 0:
            self.name: str = COMMANDS[request.command].name
        else:
            self.name = self.first[0].lower().decode("utf-8", "surrogateescape")
        self.keys: list[bytes] | None = []
        self.row: Command | None = None
        self.info: CommandInfo | None = None

    @property
    def data(self) -> bytes:
        """The bytes of the request. Raises _Incomplete if there are only the first ones."""
        if not self.complete:
            raise _Incomplete
        return self.beginning

    @cached_property
    def arguments(self) -> list[bytes]:
        """The arguments, with the name. Raises _Refused if there are too many to decode."""
        if count_arguments(self.beginning) > MOST_LOOKED_UP:
            name = self.row.name if self.row else self.name
            raise _Refused(error_reply(MANY_ARGUMENTS.format(name=name, most=MOST_LOOKED_UP)))
        return decode_request(self.data)

    @cached_property
    def first(self) -> list[bytes]:
        """The beginnings of the first two arguments, its name among them; there may be one only."""
        words = self._first(2)
        if len(words) < min(2, count_arguments(self.beginning)):
            raise _Incomplete
        return words

    def _first(self, most: int) -> list[bytes]:
        """The beginnings of up to ``most`` arguments: those that are in the bytes."""
        try:
            return decode_some(self.beginning, 0, most, LONGEST_NAME)[0]
        except ValueError:
            raise _Incomplete from None

    def plan(self) -> Plan:
        """The plan for the request."""
        session, routing = self.session, self._first_routing()
        if not session.authenticated and not builtin_commands.needs_no_authentication(self.name):
            return Answer(error_reply(NO_AUTH))
        fits_subscription = self.name in _IN_SUBSCRIPTION or routing == Routing.SUBSCRIPTION
        try:
            if session.protocol == 2 and session.subscribed and not fits_subscription:
                return self._in_subscription()
            if session.transaction.open and self.name not in _AT_ONCE:
                return self._in_transaction()
            if session.transaction.watching:
                if self.name == "hello":
                    return Answer(error_reply(WHILE_WATCHING.format(name=self.name)))
                if routing != Routing.TRANSACTION and session.client.reservations().awaits_replies():
                    return None
            if self.request.route != SLOW_PATH:
                if self.request.profile_needed:
                    self._join_scripts(self.name)
                return PASS
            row = self._identify()
            if self._shapes_replies(row):
                self._join_scripts(row.name)
            return self._by_routing(row)
        except _Pending:
            return None
        except _Refused as refused:
            return Answer(refused.reply)

    def _in_subscription(self) -> Plan:
        """The error for a request that is not allowed during a subscription; the request's own errors come first."""
        if self.request.route == REJECT:
            return PASS
        name = self.name
        if self.request.command < 0:
            self._learn()
        elif len(self.first) > 1:
            whole = f"{name}|{self.first[1].decode('utf-8', 'replace').lower()}"
            name = whole if whole in COMMAND_INFO[name].subcommands else name
        text = IN_SUBSCRIPTION.format(name=name)
        if name == "exec":
            text = EXEC_REFUSED.format(reason=text.removeprefix("ERR "))
        return Answer(error_reply(text))

    # --- connections for scripts ---------------------------------------------------------------------------------

    def _shapes_replies(self, row: Command) -> bool:
        """Whether the client may decide the text of replies with this command, line ends included."""
        known = row.name in BY_NAME or row.name in SUBCOMMANDS
        return row.name in SHAPES_REPLIES or not known

    def _join_scripts(self, name: str) -> None:
        """Use server connections for clients that run scripts, from now on and for good.

        Raises _Pending while that has to wait, _Refused if the proxy cannot tell replies apart on these servers.
        """
        session = self.session
        if session.scripts:
            return
        if session.client.awaits_replies():
            # Earlier requests must be complete before a request goes to another connection.
            raise _Pending
        self._check_scripts(name)
        session.scripts = True

    def _check_scripts(self, name: str) -> None:
        """As ``_join_scripts``, but only checks."""
        session = self.session
        profile = profile_of(session.protocol, session.database, True, session.pool.config)
        usable = session.pool.can_use(profile, session.client)
        if usable is None:
            raise _Pending
        if not usable:
            raise _Refused(error_reply(NO_ECHO.format(name=name)))

    # --- the command ---------------------------------------------------------------------------------------------

    def _first_routing(self) -> Routing | None:
        """The routing of the command itself, not of its sub-command; None for a command that is not in the table."""
        return COMMANDS[self.request.command].routing if self.request.command >= 0 else None

    def _identify(self) -> Command:
        """Find the row of the request, also for a sub-command or a command that is not in the table.

        Raises _Refused for a command that is refused or does not exist.
        """
        if self.request.command < 0:
            return self._learn()
        row = COMMANDS[self.request.command]
        self.row, self.info = row, COMMAND_INFO[row.name]
        if self.request.route == REJECT:
            raise _Refused(self.codec.refusal(self.request))
        if self.info.subcommands and (row.routing != Routing.KEY or self.request.route == SLOW_PATH):
            self._go_down(row, self.info)
        if self.row.routing == Routing.REFUSED:
            raise _Refused(not_available(self.row.name, self.row.refusal))
        return self.row

    def _go_down(self, container: Command, info: CommandInfo) -> None:
        """Use the row of the sub-command; CLIENT and COMMAND keep their own row, but sub-commands may be denied."""
        word = self.first[1].decode("utf-8", "replace") if len(self.first) > 1 else ""
        name = f"{container.name}|{word.lower()}"
        row = SUBCOMMANDS.get(name)
        self.session.subcommand = row.name if row is not None else ""
        if row is not None:
            self._check_permission(name, row.permission)
        if container.routing == Routing.LOCAL:
            return
        if row is None:
            raise self._no_subcommand(container.name)
        self._check_arity(name, row.arity)
        self.row, self.info = row, info.subcommands[name]

    def _no_subcommand(self, container: str) -> _Refused:
        """The exception for a container without such a sub-command."""
        word = self.first[1].decode("utf-8", "replace") if len(self.first) > 1 else ""
        text = UNKNOWN_SUBCOMMAND.format(name=word[:128], container=container.upper())
        return _Refused(error_reply(text) if word else wrong_arity(container))

    def _check_arity(self, name: str, arity: int) -> None:
        if not fits_arity(arity, count_arguments(self.beginning)):
            raise _Refused(wrong_arity(name))

    def _check_permission(self, name: str, needed: bool) -> None:
        if text := self.codec.permission_refusal(name, needed):
            raise _Refused(error_reply(text))

    def _learn(self) -> Command:
        """Ask a server for the description of a command that is not in the table."""
        known, found = self.codec.lookups.find(self.name, self.session)
        if not known:
            raise _Pending
        if isinstance(found, bytes):
            raise _Refused(found)
        if found is None:
            raise _Refused(unknown_command(self._first(MOST_SHOWN)))
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
        if not self.codec.denied.isdisjoint(self.info.categories):
            raise _Refused(error_reply(DENIED.format(name=row.name)))
        if row.routing == Routing.REFUSED and "admin" not in self.info.flags:
            # The command may have a key that is not in its description, unless its tips say that it is for all servers.
            merge = "" if "@dangerous" in self.info.categories else fan_out_commands.merge_of_tips(self.info.tips)
            row = row._replace(routing=Routing.EVERY_SERVER if merge else Routing.ONLY_SERVER, merge=merge)
        elif row.routing == Routing.REFUSED:
            raise _Refused(not_available(row.name, row.refusal))
        self.row = row
        return row

    def _renamed(self, row: Command) -> Command:
        """The row of a command that servers have under another name, if the proxy does not need the name in the table.

        Refused are commands about the connection, because clients share server connections.
        """
        name = row.name
        self.row, self.info = row, COMMAND_INFO[name]
        self._check_permission(name, row.permission)
        self._check_arity(self.name, row.arity)
        if self.info.subcommands and row.routing != Routing.KEY:
            self._go_down(row, self.info)
        if self.row.routing in _NOT_RENAMED:
            raise _Refused(not_available(self.name, f"it is another name for '{name}'"))
        return self.row

    # --- the server ----------------------------------------------------------------------------------------------

    def _keys(self) -> list[bytes]:
        """All keys of the request."""
        row, info, arguments = self.row, self.info, self.arguments
        assert row is not None
        assert info is not None
        if row.name in ("sort", "sort_ro"):
            keys, by_pattern = sort_keys(arguments)
            if by_pattern and self._n_servers() > 1:
                raise _Refused(error_reply(PATTERNS.format(name=row.name)))
            return keys
        keys = keys_of(info, arguments)
        if row.behind_keys and keys and arguments[-1] is keys[-1]:
            # The arguments after the keys are missing, so the last argument is not a key; the server will report that.
            return []
        if row.name == "migrate":
            # With KEYS, the argument of the single key is empty.
            return [key for key in keys if key]
        if not keys and row.first_key and not row.numkeys:
            # A channel, or the key of a container's sub-commands, which all have it in the same place.
            return arguments[row.first_key : row.first_key + 1]
        return keys

    def _server(self) -> Server:
        """The server that has all keys of the request."""
        if self.request.route == TO_KEY:
            data = self.beginning if self.request.key_end <= len(self.beginning) else self.data
            self.keys = [data[self.request.key_start : self.request.key_end]]
        else:
            self.keys = self._keys() if self._n_servers() > 1 else None
        return self._server_of_all(self.keys or [])

    def _server_of_all(self, keys: list[bytes]) -> Server:
        """The server that has all of these keys; any server without keys."""
        pool = self.session.pool
        if not pool.is_open():
            raise _Refused(pool.refused)
        server = pool.server_of_all(keys)
        if server is None:
            raise _Refused(error_reply(CROSS_SERVER))
        return server

    def _n_servers(self) -> int:
        return len(self.session.pool.servers)

    def _only_server(self) -> Server:
        """The only server of a pool with one server."""
        assert self.row is not None
        if self._n_servers() > 1:
            raise _Refused(error_reply(ONE_SERVER_ONLY.format(name=self.row.name, servers=self._n_servers())))
        return self._server_of_all([])

    def _by_routing(self, row: Command) -> Plan:
        session = self.session
        match row.routing:
            case Routing.LOCAL if row.name == "config|get" and self._is_permitted(row.name):
                return fan_out_commands.parameters(self.data, session)
            case Routing.LOCAL:
                return builtin_commands.plan(self.data, session)
            case Routing.TRANSACTION:
                return transactions.plan(row.name, self.arguments, session)
            case Routing.SUBSCRIPTION:
                return pubsub_commands.plan(row, self.data, session)
            case Routing.EVERY_SERVER if row.merge == "one done":
                # On a connection with a running script nothing else is processed, and SELECT is refused on any
                # connection.
                return self._on_private(row, 0)
            case Routing.EVERY_SERVER:
                return self._everywhere(row)
            case Routing.BLOCKING if row.merge:
                # WAIT and WAITAOF: for all writes so far.
                return self._on_private(row, session.profile, _MOVES_OFFSET)
            case Routing.BLOCKING:
                return self._block()
            case Routing.SEARCHED_KEYS:
                return self._searched(row)
            case Routing.ANY_SERVER:
                return ToServer(self._server_of_all([]))
            case Routing.ONLY_SERVER if row.name == "function|stats":
                return self._beside_scripts()
            case Routing.ONLY_SERVER:
                return ToServer(self._only_server())
            case Routing.COUNTED_KEYS:
                self._check_keys(row)
        return ToServer(self._server())

    def _check_keys(self, row: Command) -> None:
        """Refuse a request without keys if its keys are counted, unless the pool has one server."""
        if self._n_servers() > 1 and not self._keys():
            raise _Refused(keyless(row.name, self._n_servers()))

    def _everywhere(self, row: Command) -> Plan:
        self._check_databases(row)
        if row.name == "script|load":
            remember = partial(self.codec.scripts.remember, self.arguments[2])
            return fan_out_commands.load_script(row, self.data, self.session.pool.servers, remember)
        if row.name == "script|flush":
            self.codec.scripts.forget()
        return fan_out_commands.plan(row, self.data, self.arguments, self.session)

    def _searched(self, row: Command) -> Plan:
        if row.name in ("xread", "xreadgroup") and blocks(self.arguments):
            return self._block()
        if row.name == "msetex":
            return fan_out_commands.set_many(self.data, self.session)
        self._check_databases(row)
        return ToServer(self._server())

    def _check_databases(self, row: Command) -> None:
        """Refuse databases that the pool does not have; the server rejects words that are not numbers."""
        session = self.session
        for word in other_databases(row.name, self.arguments) if row.name in NAMES_DATABASES else ():
            number = int(word) if word.isdigit() and len(word) < 10 else -1
            known = number < session.databases if session.databases > 1 else number == session.database
            if not known and number >= 0:
                raise _Refused(error_reply(out_of_range(session)))

    # --- on private connections ------------------------------------------------------------------------------------

    def _block(self) -> Plan:
        """Send a blocking request on a private connection."""
        if self.request.command < 0 and self._n_servers() > 1 and not self._keys():
            raise _Refused(error_reply(ONE_SERVER_ONLY.format(name=self.name, servers=self._n_servers())))
        server = self._server()
        return self._reserve(server, self.session.profile, blocking=self._blocking())

    def _blocking(self) -> Blocking | None:
        """How the request is asked again; None if it is not known to wait for keys, or has too many to be decoded."""
        assert self.row is not None
        if self.row.name not in TIMEOUTS:
            return None
        try:
            keys = self._keys() if self.keys is None else self.keys
        except _Refused:
            return None
        return Blocking(keys, self.data, partial(after_waiting, self.row.name)) if keys else None

    def _beside_scripts(self) -> Plan:
        """Send the request to the only server, without scripts or SELECT before it; a busy server refuses SELECT."""
        session = self.session
        server, config = self._only_server(), session.pool.config
        return self._reserve(server, profile_of(session.protocol, config.redis_db, False, config), selects=False)

    def _reserve(self, server: Server, profile: int, *, selects: bool = True, blocking: Blocking | None = None) -> Plan:
        """Send the request on a private connection to the server, which is released after the reply.

        ``profile``, ``selects``: see ``Reservations.reserve``. ``blocking``: see ``ToPrivate``.
        """
        ready = self.session.client.reservations().reserve(server, profile, patient=True, selects=selects)
        if isinstance(ready, bytes):
            raise _Refused(ready)
        return ToPrivate(server, last=True, blocking=blocking) if ready else None

    def _on_private(self, row: Command, profile: int, *before: bytes) -> Plan:
        """Send the request to every server on private connections, after the requests ``before``.

        An existing connection is used without SELECT, which a busy server refuses.
        """
        session = self.session
        reservations = session.client.reservations()
        everything_ready = True
        for server in session.pool.servers:
            ready = reservations.reserve(server, profile, before, patient=True, selects=False)
            if isinstance(ready, bytes):
                if session.client.awaits_replies():
                    return None
                # Connections that are kept stay: keys may be watched there.
                reservations.release(True)
                raise _Refused(ready)
            everything_ready = everything_ready and ready
        if not everything_ready:
            return None
        return fan_out_commands.on_private(row, self.data, session.pool.servers)

    def _in_transaction(self) -> Plan:
        """Queue the request at the server of the transaction, if it can be part of it."""
        session, routing = self.session, self._first_routing()
        if self.name in _NOT_QUEUED and self.request.route != REJECT:
            return transactions.plan(self.name, self.arguments, session)
        try:
            server: Server | None = None
            row = self._identify()
            if self.name not in _KEYLESS_IN_TRANSACTION:
                if self._is_about_server(row):
                    return transactions.queue(b"", self._only_server(), None, session)
                if routing == Routing.LOCAL or row.routing in (Routing.LOCAL, Routing.SUBSCRIPTION):
                    raise _Refused(error_reply(IN_TRANSACTION.format(name=row.name)))
                server = self._server_in_transaction(row)
            elif self._n_servers() == 1:
                server = self._only_server()
            shapes_replies = self._shapes_replies(row)
            if shapes_replies and not session.scripts:
                self._check_scripts(row.name)
        except _Refused as refused:
            return transactions.refuse(refused.reply, session)
        if row.name == "script|flush":
            self.codec.scripts.forget()
        planned = transactions.queue(self.data if server is None else b"", server, self.keys, session)
        if shapes_replies and isinstance(planned, ToPrivate):
            session.scripts = True
            session.client.reservations().taint()
        return planned

    def _is_permitted(self, name: str) -> bool:
        """Whether the pool has the permission for a command that does more with it."""
        return not self.codec.permission_refusal(name, True)

    def _is_about_server(self, row: Command) -> bool:
        """Whether a command that the proxy usually answers goes to the only server of the pool."""
        if self._n_servers() > 1:
            return False
        return row.name == "info" or (row.name == "config|get" and self._is_permitted(row.name))

    def _server_in_transaction(self, row: Command) -> Server:
        self._check_databases(row)
        match row.routing:
            case Routing.EVERY_SERVER | Routing.ANY_SERVER | Routing.ONLY_SERVER:
                if self._n_servers() > 1:
                    raise _Refused(error_reply(IN_TRANSACTION.format(name=row.name)))
                self.keys = None
                return self._only_server()
            case Routing.BLOCKING if row.merge:
                self.keys = None
                return self._only_server()
            case Routing.COUNTED_KEYS:
                self._check_keys(row)
        return self._server()
