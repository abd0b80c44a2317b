"""Links between the documents: each one leads to a file that exists, and to a heading in it."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
_CODE_BLOCK = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


def without_code(text: str) -> str:
    """A document without code, in which there are no links."""
    return _CODE.sub("", _CODE_BLOCK.sub("", text))


def links(text: str) -> list[str]:
    """The targets of all links of a document."""
    return _LINK.findall(without_code(text))


def anchors(text: str) -> set[str]:
    """The anchors of all headings: lower case, spaces as hyphens, other punctuation removed; repeated ones numbered."""
    found: set[str] = set()
    for heading in _HEADING.findall(_CODE_BLOCK.sub("", text)):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        kept = "".join(each for each in shown if each in " -_" or unicodedata.category(each)[0] in "LN")
        anchor = kept.replace(" ", "-")
        number = 0
        while (numbered := f"{anchor}-{number}" if number else anchor) in found:
            number += 1
        found.add(numbered)
    return found


@cache
def anchors_of(path: Path) -> set[str]:
    return anchors(path.read_text())


def broken(document: Path, root: Path = ROOT) -> Iterator[str]:
    """The links of a document in the folder ``root`` that lead nowhere in it, each with the reason."""
    for link in links(document.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        if not target.is_relative_to(root) or not target.exists():
            yield f"{link}: there is no such file"
        elif anchor and anchor not in anchors_of(target):
            yield f"{link}: the file has no such heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    assert not list(broken(document))


def test_broken_links_are_found(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text(
        "# Is it up?\n## `/ui` and *more*\n## Is it up?\n"
        "[a](b.md) [b](#is-it-up) [c](#is-it-up-1) [d](#ui-and-more) [e](#is-it-up-2) [f](../b.md) `[g](h.md)`\n"
        "```\n[i](j.md)\n# k\n```\n[l](https://example.com/) [m [n]](#k)\n"
    )
    assert [each.partition(":")[0] for each in broken(document, tmp_path)] == ["b.md", "#is-it-up-2", "../b.md", "#k"]
