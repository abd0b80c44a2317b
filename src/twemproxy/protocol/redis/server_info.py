"""INFO: the figures of a pool's servers, merged, and the proxy's own figures.

Plain Python. Sections and names are redis's, so that clients and tools find them. ``_RULES`` has the rules for merging
figures; figures about connections, such as the clients, are the proxy's own.
"""

import os
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from twemproxy.protocol import figures
from twemproxy.protocol.other_workers import Rows
from twemproxy.protocol.plan import Answer
from twemproxy.protocol.redis.inline import decode_some, encode_request
from twemproxy.protocol.redis.resp_encoder import text
from twemproxy.protocol.redis.sections import Section, sections_of
from twemproxy.protocol.redis.session import Pool, Session

Work = Generator[bytes | None, None, Answer]
EVERYTHING, DEFAULT = b"everything", b"default"
_PROXY = b"proxy"
_NAMES = frozenset(
    b"all cluster clients commandstats cpu debug default errorstats everything keyspace latencystats memory modules"
    b" module_list persistence proxy replication sentinel server stats".split()
)
"""The known sections, for requests with several names."""

_NOT_DEFAULT = ("commandstats", "latencystats")
_ANOTHER_NAME = {"module_list": "modules"}
_ONE_NAME = re.compile(rb"[a-z0-9_-]{1,64}")
_NAMES_A_STEP = 64
_CLIENTS_A_STEP = 100

_POLICIES = ("allkeys", "volatile", "noeviction")


def _policy(values: figures.Values) -> str | None:
    """The policy of all servers; if they differ, the one that may evict most keys."""
    return min(values, key=lambda value: _POLICIES.index(prefix) if (prefix := value.split("-")[0]) in _POLICIES else 9)


_RULES = figures.Rules(
    [
        ("redis_version|valkey_version", figures.oldest),
        ("uptime_in_(seconds|days)|aof_enabled|rdb_last_save_time", figures.smallest),
        ("maxmemory", figures.limit),
        ("maxmemory_policy", _policy),
        ("rdb_last_bgsave_status|aof_last_bgrewrite_status|aof_last_write_status", figures.unless("ok")),
        ("paused_reason|paused_actions", figures.unless("none")),
        # Percentages and times cannot be added; the largest one needs attention.
        (".*_perc|.*_sec|.*_age|.*_usec|.*_ratio|.*_per_tick|paused_timeout_milliseconds", figures.largest),
        ("loading|async_loading|.*_in_progress|.*_scheduled|.*_running|active_defrag_running", figures.largest),
        ("hz|configured_hz|clients_hz|lru_clock|client_recent_max_.*|module_fork_last_cow_size", figures.largest),
        (".*_cow_(size|peak)|repl_backlog_active", figures.largest),
        ("role|.*_version|.*_bits|engines_count|cluster_enabled|instantaneous_eventloop_duration_usec", figures.same),
        # Figures that identify a server, its replicas and its history.
        (r"master_.*|second_repl_offset|repl_backlog_(size|first_byte_offset|histlen)|slave\d+", figures.dropped),
        (r"replica\d+|listener\d+|engine_\d+|availability_zone|tls_.*|redis_git_.*|redis_build_id", figures.dropped),
    ]
)
"""Other figures are added if they are numbers, and left out if they are different words."""

_SUM_OF_PARTS = figures.Rules([("p[0-9.]+", figures.largest)])
"""Parts of values such as ``keys=1,expires=0``."""

_HUMAN = re.compile(r"(.*)_human")
_UNITS = "BKMGTP"


def human(size: int) -> str:
    """A number of bytes in redis's human-readable form."""
    if size < 1024:
        return f"{size}B"
    unit = 0
    number = float(size)
    while number >= 1024 and unit < len(_UNITS) - 1:
        number /= 1024
        unit += 1
    return f"{number:.2f}{_UNITS[unit]}"


def _ratio(above: str, below: str) -> Callable[[Section], str | None]:
    def ratio(section: Section) -> str | None:
        try:
            return f"{int(section[above]) / int(section[below]):.2f}"
        except (KeyError, ValueError, ZeroDivisionError):
            return None

    return ratio


def _share(part: str, whole: str, less: str = "") -> Callable[[Section], str | None]:
    def share(section: Section) -> str | None:
        try:
            return f"{100 * int(section[part]) / (int(section[whole]) - int(section.get(less, 0))):.2f}%"
        except (KeyError, ValueError, ZeroDivisionError):
            return None

    return share


_COMPUTED: dict[str, Callable[[Section], str | None]] = {
    "mem_fragmentation_ratio": _ratio("used_memory_rss", "used_memory"),
    "allocator_frag_ratio": _ratio("allocator_active", "allocator_allocated"),
    "allocator_rss_ratio": _ratio("allocator_resident", "allocator_active"),
    "rss_overhead_ratio": _ratio("used_memory_rss", "allocator_resident"),
    "used_memory_peak_perc": _share("used_memory", "used_memory_peak"),
    "used_memory_dataset_perc": _share("used_memory_dataset", "used_memory", "used_memory_startup"),
}
"""Figures that are computed from other merged figures."""


# --- figures of servers -----------------------------------------------------------------------------------------------


def _parts(value: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in value.split(",") if "=" in part)


def _merge_parts(values: list[str]) -> str:
    """Merge values such as ``calls=2,usec=30,usec_per_call=15.00`` or ``keys=1,expires=1,avg_ttl=2000``."""
    told = [_parts(value) for value in values]
    merged: dict[str, str] = {}
    for name in dict.fromkeys(name for parts in told for name in parts):
        value = _SUM_OF_PARTS.merge(name, [parts[name] for parts in told if name in parts])
        if value is not None:
            merged[name] = value
    try:
        if "usec_per_call" in merged:
            merged["usec_per_call"] = f"{int(merged['usec']) / max(int(merged['calls']), 1):.2f}"
        if "avg_ttl" in merged:
            weighted = sum(int(parts["avg_ttl"]) * int(parts["expires"]) for parts in told)
            merged["avg_ttl"] = str(weighted // max(int(merged["expires"]), 1))
    except (KeyError, ValueError):
        pass
    return ",".join(f"{name}={value}" for name, value in merged.items())


_IN_PARTS = ("Commandstats", "Errorstats", "Latencystats", "Keyspace")
"""Sections whose values have parts."""


def merge_section(heading: str, told: list[Section]) -> Section:
    """The pool's section, made from those of its servers; the section of a single server is unchanged."""
    if len(told) == 1:
        return dict(told[0])
    merged: Section = {}
    for name in dict.fromkeys(name for section in told for name in section):
        values = [section[name] for section in told if name in section]
        value: str | None
        if heading in _IN_PARTS:
            value = _merge_parts(values)
        elif name in _COMPUTED:
            value = ""
        elif human_of := _HUMAN.fullmatch(name):
            size = merged.get(human_of[1], "")
            value = human(int(size)) if size.isdigit() else None
        else:
            value = _RULES.merge(name, values)
        if value is not None:
            merged[name] = value
    for name in merged.keys() & _COMPUTED.keys():
        merged[name] = _COMPUTED[name](merged) or "0.00"
    return merged


# --- the proxy's own figures ------------------------------------------------------------------------------------------


def _own_server(section: Section, session: Session, known: dict[str, object]) -> None:
    """Set the figures about the process to which clients are connected."""
    versions = session.pool.codec.versions
    section.setdefault("redis_version", versions.spoken())
    if versions.greeting()[0] != "valkey":
        for name in _VALKEYS:
            section.pop(name, None)
    section["redis_mode"] = "standalone"
    section["process_id"] = str(known["pid"])
    section["run_id"] = str(known["run_id"])
    section["tcp_port"] = str(session.pool.config.listen.address.port)
    section.setdefault("uptime_in_seconds", str(known["uptime"]))
    section.setdefault("uptime_in_days", str(int(section["uptime_in_seconds"]) // 86400))
    section["executable"] = _EXECUTABLE
    section["config_file"] = ""


_EXECUTABLE = os.path.realpath("/proc/self/exe")
"""The program of this process: nutcracker's own, or that of Python."""

_VALKEYS = ("server_name", "valkey_version", "valkey_release_stage", "server_mode")
"""Figures that only valkey has; left out unless all servers are valkey."""


def _own_clients(section: Section, session: Session, poll: Any) -> Generator[bytes | None, None, None]:
    """Set the figures about the pool's clients, which servers do not know. The other workers are asked once for all
    clients with the same poll.
    """
    if COUNTED in poll.notes:
        poll.notes[COUNTED].wake_too(session.client)
    else:
        poll.notes[COUNTED] = session.pool.others.ask(COUNTED, (), session.client)
    counted = dict.fromkeys(_COUNTED, 0)
    if most := session.pool.config.client_connections:
        counted["maxclients"] = most
    for rows in tell_counted((), session.pool):
        _add_up(counted, rows)
        yield b""
    while not poll.notes[COUNTED].done:
        yield None
    _add_up(counted, poll.notes[COUNTED].rows)
    section.update({name: str(value) for name, value in counted.items()})


def _add_up(counted: dict[str, int], rows: Rows) -> None:
    """Add the rows of an answer to COUNTED."""
    for number, name in rows:
        if name.decode() in _COUNTED:
            counted[name.decode()] += number


def tell_counted(arguments: Sequence[bytes], pool: Pool) -> Iterator[Rows]:
    """The answer to COUNTED: numbers of clients of this worker, and what they are, in several steps to be added up."""
    clients = pool.clients()
    for at in range(0, len(clients), _CLIENTS_A_STEP):
        counted = dict.fromkeys(_COUNTED, 0)
        for client in clients[at : at + _CLIENTS_A_STEP]:
            counted["connected_clients"] += 1
            counted["blocked_clients"] += client.is_blocked()
            if (session := client.session) is not None:
                counted["pubsub_clients"] += session.subscribed
                counted["watching_clients"] += session.transaction.watching
        yield [(number, name.encode()) for name, number in counted.items()]


COUNTED = "counted clients"
"""A question to other workers, see ``protocol.other_workers``."""

_COUNTED = ("connected_clients", "blocked_clients", "pubsub_clients", "watching_clients")


def _own_keyspace(section: Section, session: Session) -> Section:
    """The databases as clients number them: without SELECT, the pool's own database is 0."""
    if session.databases > 1 or not session.database:
        return section
    own = section.get(f"db{session.database}")
    return {} if own is None else {"db0": own}


def _proxy_section(session: Session, known: dict[str, object], replies: Sequence[Any]) -> Section:
    """The figures of the proxy and the state of each server."""
    section = {"proxy": "twemproxy", "proxy_version": str(known["version"])}
    section["proxy_uptime_in_seconds"] = str(known["uptime"])
    section["pool_name"] = session.pool.config.name
    section |= {name: str(value) for name, value in known.items() if name in _OF_CONFIGURATION}
    section |= {f"pool_{name}": str(known[name]) for name in _OF_POOL}
    section["servers_failed"] = str(sum(reply.state != "ok" for reply in replies))
    versions = session.pool.codec.versions.by_server
    for index, reply in enumerate(replies):
        told = {"name": reply.server.name, "state": reply.state}
        if reply.server in versions:
            told["version"] = versions[reply.server].told
        if reply.state != "ok" and reply.text:
            told["error"] = _one_line(reply.text)
        section[f"server{index}"] = ",".join(f"{field}={value}" for field, value in told.items())
    return section


_OF_CONFIGURATION = (
    *("config_generation", "config_fingerprint", "config_loaded_at"),
    *("last_reload_at", "last_reload_failed", "last_reload"),
)
"""Facts about the configuration, by their names on the statistics port."""

_OF_POOL = ("servers", "servers_live", "server_ejects", "requests", "responses", "forward_error", "fragments")
"""Figures of the pool, by their names on the statistics port."""


def _one_line(error: bytes) -> str:
    """An error in the form of a part of a value."""
    return error[1:128].split(b"\r\n")[0].decode("utf-8", "replace").replace(",", ";")


# --- the request ------------------------------------------------------------------------------------------------------


def _wanted(request: bytes) -> Generator[bytes, None, frozenset[bytes]]:
    """The requested names of sections; unknown ones are left out, unless there is one name only."""
    names, at = decode_some(request, 0, 2)
    if len(names) == 1:
        return frozenset((DEFAULT,))
    found = set()
    more, at = decode_some(request, at, _NAMES_A_STEP)
    if not more:
        name = names[1].lower()
        return frozenset((name,)) if _ONE_NAME.fullmatch(name) else frozenset()
    found.add(names[1].lower())
    while more:
        found.update(name.lower() for name in more)
        found &= _NAMES
        yield b""
        more, at = decode_some(request, at, _NAMES_A_STEP)
    return frozenset(found)


def _question(names: frozenset[bytes]) -> bytes:
    """The request to servers: older servers accept one name only."""
    asked = [name for name in names if name != _PROXY]
    if not asked:
        return encode_request([b"INFO", b"server"])
    return encode_request([b"INFO", asked[0] if len(asked) == 1 else EVERYTHING])


def _is_wanted(heading: str, names: frozenset[bytes]) -> bool:
    """Whether a section is one of several requested names."""
    name = heading.lower().replace(" ", "")
    name = _ANOTHER_NAME.get(name, name)
    if names & {b"all", EVERYTHING} or (DEFAULT in names and name not in _NOT_DEFAULT):
        return True
    return any(_ANOTHER_NAME.get(wanted.decode(), wanted.decode()) == name for wanted in names)


def info(request: bytes, session: Session) -> Work:
    """INFO [section ...], see ``protocol.plan.Steps``."""
    names = yield from _wanted(request)
    if not names:
        return Answer(text("", session.protocol))
    client = session.client
    while client.awaits_replies():
        # The client's earlier requests must have run before the servers are asked.
        yield None
    poll = session.pool.poll.ask(_question(names), client)
    while not poll.done:
        yield None
    made = (names, session.protocol)
    if made not in poll.notes:
        poll.notes[made] = yield from _made(names, session, poll)
    return Answer(poll.notes[made])


def _made(names: frozenset[bytes], session: Session, poll: Any) -> Generator[bytes | None, None, bytes]:
    """The reply, made from those of the servers to a poll."""
    told: dict[str, list[Section]] = {}
    for reply in poll.replies:
        if reply.state != "ok":
            continue
        yield b""
        try:
            sections = sections_of(reply.text)
        except ValueError:
            continue
        session.pool.codec.versions.learn(reply.server, sections.get("Server", {}))
        for heading, section in sections.items():
            told.setdefault(heading, []).append(section)
    if len(names) > 1 or _PROXY in names:
        told = {heading: parts for heading, parts in told.items() if _is_wanted(heading, names)}
    known = dict(session.pool.statistics())
    several = bool(names & {DEFAULT, b"all", EVERYTHING})
    for heading in ("Server", "Clients", "Replication"):
        if not told.get(heading) and (several or heading.lower().encode() in names):
            told[heading] = [{}]
    merged: dict[str, Section] = {}
    for heading, parts in told.items():
        yield b""
        section = merged[heading] = merge_section(heading, parts)
        if heading == "Server":
            _own_server(section, session, known)
        elif heading == "Clients":
            yield from _own_clients(section, session, poll)
        elif heading == "Replication":
            section["role"] = "master"
            section.setdefault("connected_slaves", "0")
        elif heading == "Keyspace":
            merged[heading] = _own_keyspace(section, session)
    if several or _PROXY in names:
        merged["Proxy"] = _proxy_section(session, known, poll.replies)
    written = []
    for heading, section in merged.items():
        lines = (
            f"{name}\r\n" if name.startswith("module:") else f"{name}:{value}\r\n" for name, value in section.items()
        )
        written.append(f"# {heading}\r\n" + "".join(lines))
    return text("\r\n".join(written), session.protocol)
