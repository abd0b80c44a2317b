"""The configurations in the documents are valid."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from twemproxy.config.loading import load

ROOT = Path(__file__).parents[3]
_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    """(document, text) of each block of YAML in the documents."""
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [(path.name, text) for path in documents for text in _BLOCK.findall(path.read_text())]


def configurations() -> Iterator[tuple[str, str]]:
    """(document, text) of each configuration file of the proxy in a block, also inside a ConfigMap."""
    for name, text in blocks():
        content: Any = yaml.safe_load(text)
        if content.get("kind") == "ConfigMap":
            yield name, content["data"]["nutcracker.yml"]
        elif all(isinstance(pool, dict) and "listen" in pool for pool in content.values()):
            yield name, text


def test_manifests_have_a_kind_or_a_specification() -> None:
    kinds = [yaml.safe_load(text) for name, text in blocks() if name == "kubernetes.md"]
    assert len(kinds) == 3
    assert all(each.get("kind") in ("ConfigMap", "Deployment") or "spec" in each for each in kinds)


@pytest.mark.parametrize(("document", "text"), [pytest.param(*each, id=each[0]) for each in configurations()])
def test_a_documented_configuration_is_valid(document: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / document
    path.write_text(text)
    assert load(str(path)).pools
