"""The files of the dashboard: all are served, and none brings in what it must not."""

import re
from pathlib import Path

import pytest

from harness.sources import SOURCES
from twemproxy.ui import FILES, read

FOLDER = SOURCES / "ui"
PAGE_FILES = sorted(path for path in FOLDER.iterdir() if path.suffix in {".html", ".css", ".js", ".svg"})


def test_every_file_is_served() -> None:
    assert sorted(name for name, _ in FILES.values()) == [path.name for path in PAGE_FILES]
    for path, (name, content_type) in FILES.items():
        assert path == ("/ui" if name == "index.html" else f"/ui/{name}")
        assert read(name) == (FOLDER / name).read_bytes()
        kinds = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
        assert content_type.partition(";")[0] == kinds[Path(name).suffix]


def test_the_page_finds_its_files() -> None:
    """Relative to /ui, also where a web server gives the port another path."""
    wanted = re.findall(r'(?:src|href)="(ui/[^"]+)"', (FOLDER / "index.html").read_text())
    assert {"ui/ui.css", "ui/ui.js"} <= set(wanted)
    assert {f"/{path}" for path in wanted} <= {*FILES, "/ui/report.json"}


@pytest.mark.parametrize("path", [path for path in PAGE_FILES if path.suffix == ".js"], ids=lambda path: path.name)
def test_scripts_import_what_exists(path: Path) -> None:
    imported = re.findall(r'from "\./([^"]+)"', path.read_text())
    assert {f"/ui/{name}" for name in imported} <= set(FILES)


@pytest.mark.parametrize("path", PAGE_FILES, ids=lambda path: path.name)
def test_nothing_from_outside_becomes_markup_or_is_loaded(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc", text)
    assert not re.findall(r"https?://(?!www\.w3\.org/)", text)
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", text)
