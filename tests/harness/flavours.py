"""The two flavours of dual modules: compiled, and the same source run by the interpreter."""

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType

import twemproxy

Load = Callable[[str], ModuleType]
"""Loads a dual module by name, in one flavour."""
Both = Callable[[str], tuple[ModuleType, ModuleType]]
"""Loads a dual module by name, as (compiled, interpreted)."""

SOURCES = Path(__file__).parents[2] / "src"

_interpreted: dict[str, ModuleType] = {}


class _SourcesOnly:
    """Finds the modules of this package as sources, even if they have been compiled."""

    def __init__(self, loader: type[SourceFileLoader]) -> None:
        """``loader``: the class that loads the sources."""
        self._loader = loader

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] != "twemproxy":
            return None
        folder = Path(path[0]) if path else Path(str(twemproxy.__file__)).parents[1]
        return FileFinder(str(folder), (self._loader, SOURCE_SUFFIXES)).find_spec(name)


def _take_ours() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == "twemproxy"]
    return {name: sys.modules.pop(name) for name in names}


def compiled(name: str) -> ModuleType:
    """The compiled module of that name; AssertionError if it was compiled from other sources than the present ones."""
    module = importlib.import_module(name)
    binary = Path(str(module.__file__))
    assert binary.suffix == ".so", f"{name} is not compiled"
    sources = [(SOURCES / name.replace(".", "/")).with_suffix(suffix) for suffix in (".py", ".pxd")]
    for here in filter(Path.exists, sources):
        beside = binary.with_name(here.name)
        if beside.samefile(here):
            assert binary.stat().st_mtime >= here.stat().st_mtime, f"{name} is older than {here.name}: build it"
        else:
            assert beside.read_bytes() == here.read_bytes(), f"{name} is installed from another {here.name}"
    return module


def interpreted(name: str, loader: type[SourceFileLoader] = SourceFileLoader) -> ModuleType:
    """The module of that name, and our modules that it imports, loaded once from source by ``loader``."""
    finder = _SourcesOnly(loader)
    set_aside = _take_ours()
    sys.modules.update(_interpreted)
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(name)
    finally:
        sys.meta_path.remove(finder)
        _interpreted.update(_take_ours())
        sys.modules.update(set_aside)
