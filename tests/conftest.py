"""The two flavours of dual modules: compiled, and the same source run by the interpreter."""

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

import twemproxy

# How fast a machine is does not decide whether a test passes.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

SOURCES = Path(__file__).parents[1] / "src"

_interpreted: dict[str, ModuleType] = {}


class _SourcesOnly:
    """Finds our modules as sources, also those that have been compiled."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] != "twemproxy":
            return None
        folder = Path(path[0]) if path else Path(str(twemproxy.__file__)).parents[1]
        return FileFinder(str(folder), (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(name)


def _take_ours() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == "twemproxy"]
    return {name: sys.modules.pop(name) for name in names}


def compiled(name: str) -> ModuleType:
    """The compiled module of that name; AssertionError if it was made from other sources than those here."""
    module = importlib.import_module(name)
    binary = Path(str(module.__file__))
    assert binary.suffix == ".so", f"{name} is not compiled"
    for suffix in (".py", ".pxd"):
        here = (SOURCES / name.replace(".", "/")).with_suffix(suffix)
        beside = binary.with_name(here.name)
        if beside.samefile(here):
            assert binary.stat().st_mtime >= here.stat().st_mtime, f"{name} is older than {here.name}: build it"
        else:
            assert beside.read_bytes() == here.read_bytes(), f"{name} is installed from another {here.name}"
    return module


def interpreted(name: str) -> ModuleType:
    """The module of that name, and all of ours that it imports, loaded from their sources."""
    finder = _SourcesOnly()
    set_aside = _take_ours()
    sys.modules.update(_interpreted)
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(name)
    finally:
        sys.meta_path.remove(finder)
        _interpreted.update(_take_ours())
        sys.modules.update(set_aside)


Load = Callable[[str], ModuleType]


@pytest.fixture(params=[compiled, interpreted], ids=["compiled", "interpreted"], scope="session")
def flavour(request: pytest.FixtureRequest) -> Load:
    """Loads a dual module by name; a test that asks for it runs once per flavour."""
    load: Load = request.param
    return load


@pytest.fixture(scope="session")
def both_flavours() -> Callable[[str], tuple[ModuleType, ModuleType]]:
    """Loads a dual module by name as (compiled, interpreted), for tests that compare the two."""
    return lambda name: (compiled(name), interpreted(name))
