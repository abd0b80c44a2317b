"""The source files of the package, and what they import."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "twemproxy"
MODULES = sorted(SOURCES.rglob("*.py"))
HEADERS = sorted(SOURCES.rglob("*.pxd"))


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCES.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def imports_of_module(path: Path) -> Iterator[str]:
    """The full names that a .py file imports, anywhere in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of_header(path: Path) -> Iterator[str]:
    for match in re.finditer(r"^\s*(?:from\s+([\w.]+)\s+cimport\s+(.+)|cimport\s+([\w.]+))", path.read_text(), re.M):
        yield match[3] or f"{match[1]}.{match[2].split(',')[0].strip()}"
