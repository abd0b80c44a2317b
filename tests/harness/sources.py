"""The source files of the package, and what they import."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "twemproxy"
MODULES = sorted(SOURCES.rglob("*.py"))
HEADERS = sorted(SOURCES.rglob("*.pxd"))


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCES.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


@cache
def tree(path: Path) -> ast.Module:
    """A .py file as a syntax tree, which nobody changes."""
    return ast.parse(path.read_text())


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a .py file."""
    return tuple(ast.walk(tree(path)))


@cache
def imports_of_module(path: Path) -> tuple[str, ...]:
    """The full names that a .py file imports, anywhere in the file."""
    names = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(names)


@cache
def imports_of_header(path: Path) -> tuple[str, ...]:
    """The full names that a .pxd file imports."""
    found = re.finditer(r"^\s*(?:from\s+([\w.]+)\s+cimport\s+(.+)|cimport\s+([\w.]+))", path.read_text(), re.M)
    return tuple(match[3] or f"{match[1]}.{match[2].split(',')[0].strip()}" for match in found)
