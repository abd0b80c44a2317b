"""Rules of docs/architecture.md about single modules and functions."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from harness.sources import MODULES, imports_of_header, imports_of_module, module_name, nodes

CLOCKS = {"clock_gettime", "time.clock_gettime", "time.monotonic", "time.monotonic_ns", "time.perf_counter"}
"""Names of clocks that only go forward."""


def name_of(path: Path) -> str:
    """The name of a module within the package."""
    return module_name(path).removeprefix("twemproxy").lstrip(".")


@cache
def graph() -> dict[str, set[str]]:
    """The modules that each module, or its .pxd file, imports."""
    names = {name_of(path) for path in MODULES}
    found: dict[str, set[str]] = {}
    for path in MODULES:
        header = path.with_suffix(".pxd")
        used = set()
        for name in (*imports_of_module(path), *(imports_of_header(header) if header.exists() else ())):
            ours = name.removeprefix("cython.cimports.").removeprefix("twemproxy").lstrip(".")
            used |= {ours, ours.rpartition(".")[0]} & names
        found[name_of(path)] = used - {name_of(path), ""}
    return found


def reachable(start: str) -> set[str]:
    found: set[str] = set()
    left = [start]
    while left:
        for module in graph()[left.pop()] - found:
            found.add(module)
            left.append(module)
    return found


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    return (node for node in nodes(path) if isinstance(node, ast.FunctionDef))


@cache
def names_used(path: Path) -> frozenset[str]:
    """The names and dotted names that a module uses, as ``time`` and ``time.monotonic``."""
    return frozenset(filter(None, map(dotted, nodes(path))))


def dotted(node: ast.AST) -> str:
    """The text of a name or of an attribute of one; of an attribute of anything else, the name after the last dot."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def written(path: Path) -> Iterator[str]:
    """The attributes that a module assigns to."""
    for node in nodes(path):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        yield from (ast.unparse(target) for target in targets if isinstance(target, ast.Attribute))


def test_modules_do_not_import_each_other() -> None:
    reached = {name: reachable(name) for name in graph()}
    for name in graph():
        assert name not in reached[name], f"{name} imports itself by way of others"


def test_system_calls_on_connections_are_in_net() -> None:
    """Compiled code declares them elsewhere for nothing, and Python code uses constants of ``socket`` only."""
    for path in MODULES:
        if name_of(path).startswith("net."):
            continue
        libc = {name.rpartition(".")[0].removeprefix("cython.cimports.twemproxy.") for name in imports_of_module(path)}
        assert not libc & {"libc.socket", "libc.poll"}, path
        if name_of(path).startswith(("proxy.", "protocol.")):
            assert not [name for name in names_used(path) if re.match(r"socket\.[a-z]", name)], path


def test_only_the_protocol_writes_requests_and_cursors() -> None:
    for path in MODULES:
        if not name_of(path).startswith("protocol"):
            # A request of proxy.pubsub and an entry of proxy.pipeline are other things.
            names = [name for name in written(path) if re.search(r"\b(cursor|request)\.\w+$", name)]
            assert not names or name_of(path) in ("upstream.pubsub", "upstream.pipeline"), f"{path}: {names}"


def test_there_is_one_clock() -> None:
    """Deadlines follow the clock of the event loop, which tests can move; the event loop alone fires timers."""
    readers, firing = set(), set()
    for path in MODULES:
        room = name_of(path).partition(".")[0]
        used = names_used(path)
        if used & CLOCKS and room in ("net", "protocol", "proxy", "worker"):
            readers.add(name_of(path))
        if any(name.endswith("timers.advance") for name in used):
            firing.add(name_of(path))
    assert readers == {"net.clock"}
    assert firing == {"net.event_loop"}


def test_servers_are_objects() -> None:
    """No function gets a server as a number: positions change when servers are added or removed."""
    for path in MODULES:
        for function in functions(path):
            for argument in function.args.args:
                annotation = ast.unparse(argument.annotation) if argument.annotation is not None else ""
                by_index = argument.arg == "server" and annotation in ("int", "cython.int")
                assert not by_index, f"{name_of(path)}.{function.name}"


def test_keys_are_routed_in_one_place() -> None:
    """So one place sees every key of every request."""
    for path in MODULES:
        if not name_of(path).startswith("hashing."):
            calls = [dotted(node.func) for node in nodes(path) if isinstance(node, ast.Call)]
            assert calls.count("self.ring.route") == (name_of(path) == "upstream.route_table"), path
            assert not any(call.endswith((".ring.route", "hash_key")) for call in calls if call != "self.ring.route")


def test_one_module_knows_epoll() -> None:
    for path in MODULES:
        header = path.with_suffix(".pxd")
        used = {*imports_of_module(path), *(imports_of_header(header) if header.exists() else ())}
        knows = any(".libc.epoll" in name for name in used)
        assert knows == (name_of(path) == "net.poller"), path


def test_compiled_modules_index_from_the_front() -> None:
    """They are compiled without wraparound: a negative index would read memory before the object."""
    compiled = [path for path in MODULES if re.search(r"^import cython$", path.read_text(), re.MULTILINE)]
    assert compiled
    for path in compiled:
        slices = [ast.unparse(node.slice) for node in nodes(path) if isinstance(node, ast.Subscript)]
        assert [each for each in slices if re.search(r"(^|:)-", each)] == [], path
