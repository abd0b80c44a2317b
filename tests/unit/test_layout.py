"""The architecture (docs/architecture.md) compared with the files: imports, and rules for every file.

A rule is one test for all files, which names those that break it: a test for each file would take longer.
"""

import ast
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.sources import (
    HEADERS,
    MODULES,
    ROOT,
    SOURCES,
    imports_of_header,
    imports_of_module,
    module_name,
    nodes,
    tree,
)
from twemproxy.stats.catalogue import POOL_METRICS, PROCESS_METRICS, SERVER_METRICS

MOST_LINES = 650
MOST_LINES_OF_ONE_CLASS = 1000

ONE_CLASS = {
    SOURCES / name
    for name in (
        *("downstream/client.py", "upstream/server_connection.py", "upstream/pubsub.py"),
        *("protocol/codec.py", "protocol/redis/framing.py"),
    )
}
"""Modules that are one class, which is easier to read as a whole."""

OURS = sorted(
    path
    for folder in ("src", "tests", "tools", "benchmarks", "docs", "conf", "contrib", ".ci")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".pxd", ".pyi", ".md", ".yml", ".toml", ".sh", ""}
    and path.is_file()
    and not {"__pycache__", "work"} & set(path.relative_to(ROOT).parts)
)

# For each package, the other packages that it may use. A package is a folder or a module directly in twemproxy.
MAY_USE = {
    "libc": set(),
    "protocol": set(),
    "hashing": set(),
    "net": {"libc"},
    "stats": {"libc"},
    "config": {"hashing", "protocol"},
    "ipc": {"config"},
    "process": {"libc"},
    "log": {"ipc"},
    "ui": set(),
    "proxy": {"net", "protocol", "stats", "log"},
    "upstream": {"libc", "net", "protocol", "hashing", "stats", "config", "log", "ipc", "proxy"},
    "downstream": {"libc", "net", "protocol", "stats", "proxy", "upstream"},
    "worker": {"ipc", "downstream", "upstream", "proxy", "net", "protocol", "stats", "config", "log", "process"},
    "admin": {"ipc", "log"},
    "supervisor": {"ipc", "admin", "stats", "config", "log", "process", "ui"},
    "api": {"config", "hashing"},
    "commands": {"api", "config", "hashing", "ipc"},
    "cli": {"commands", "supervisor", "config", "stats"},
    "demo": set(),
    "launcher": {"libc"},
    "__main__": {"cli"},
    "__init__": {"api"},
}


def package(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


def used_packages(path: Path) -> set[str]:
    """The other packages that a file uses."""
    names = imports_of_module(path) if path.suffix == ".py" else imports_of_header(path)
    used = set()
    for name in names:
        ours = name.removeprefix("cython.cimports.")
        if ours.split(".")[0] != "twemproxy" or ours == "twemproxy.__version__":
            continue
        used.add(package(ours))
    return used - {package(module_name(path))}


def identity(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_imports_go_one_way() -> None:
    wrong = {}
    for path in (*MODULES, *HEADERS):
        own = package(module_name(path))
        assert own in MAY_USE, f"a new package: say in MAY_USE what {own} may use"
        if not_allowed := used_packages(path) - MAY_USE[own]:
            wrong[identity(path)] = not_allowed
    assert not wrong, "these files must not use these packages"


DATA_PLANE = [path for path in MODULES if package(module_name(path)) in ("proxy", "upstream", "downstream")]


def test_a_codec_keeps_no_request() -> None:
    """The results of a codec are passed on as values, so the proxy sets no attribute of a codec."""
    for path in DATA_PLANE:
        targets = [target for node in nodes(path) if isinstance(node, ast.Assign) for target in node.targets]
        targets += [node.target for node in nodes(path) if isinstance(node, ast.AugAssign | ast.AnnAssign)]
        written = [ast.unparse(target) for target in targets if isinstance(target, ast.Attribute)]
        assert not [name for name in written if re.search(r"\bcodec\.", name)], identity(path)


def compiled_modules() -> list[str]:
    found: dict[str, Any] = {}
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            with suppress(ValueError):
                found[node.targets[0].id] = ast.literal_eval(node.value)
    return [*found["COMPILED"], found["LAUNCHER"]]


def test_every_module_that_imports_cython_is_compiled() -> None:
    on_disk = [
        module_name(path) for path in MODULES if "cython" in {name.split(".")[0] for name in imports_of_module(path)}
    ]
    listed = compiled_modules()
    assert sorted(listed) == sorted(on_disk)


def test_every_header_has_its_module() -> None:
    for header in HEADERS:
        # setup.py writes stats/positions.pxd.
        if header.parent.name != "libc" and header.name != "positions.pxd":
            assert header.with_suffix(".py").exists(), f"{identity(header)} stands alone"


def test_every_counter_has_a_help_text_and_a_constant_of_its_own() -> None:
    """setup.py makes one constant per name, for all scopes."""
    metrics = (*PROCESS_METRICS, *POOL_METRICS, *SERVER_METRICS)
    assert all(metric.help for metric in metrics)
    assert len({metric.name.upper() for metric in metrics}) == len(metrics)


def test_a_module_can_be_read_at_a_sitting() -> None:
    modules = [path for path in OURS if path.suffix in {".py", ".pxd", ".pyi"}]
    lines = {path: len(path.read_text().splitlines()) for path in modules}
    assert len(lines) > 100
    most = {path: MOST_LINES_OF_ONE_CLASS if path in ONE_CLASS else MOST_LINES for path in modules}
    assert not {identity(path): lines[path] for path in modules if lines[path] > most[path]}


def test_a_module_says_what_it_is_for() -> None:
    assert not [identity(path) for path in MODULES if path.read_text().strip() and not ast.get_docstring(tree(path))]


# Spelled in pieces, so that this file does not match.
FORBIDDEN = re.compile(
    "|".join(
        [
            *(rf"\b{word}\b" for word in ("TO" + "DO", "FIX" + "ME", "X" * 3, "not " + "implemented", "for " + "now")),
            *(r"(?<!\w)/ro" + "ot/", r"(?<!\w)/wo" + "rk/", r"\.\./sha" + "red"),
        ]
    )
)


def test_nothing_is_left_over() -> None:
    found = {identity(path): FORBIDDEN.search(path.read_text(encoding="utf-8", errors="replace")) for path in OURS}
    assert not {name: match[0] for name, match in found.items() if match}
