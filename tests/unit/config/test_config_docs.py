"""The documents that tools/generate_docs.py generates from tables are up to date."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from twemproxy.cli import start_options
from twemproxy.commands import SUB_COMMANDS
from twemproxy.config.directives import DIRECTIVES
from twemproxy.config.warnings import KINDS
from twemproxy.protocol.memcache.commands import COMMANDS as MEMCACHED_COMMANDS
from twemproxy.protocol.redis.commands import COMMANDS as REDIS_COMMANDS

ROOT = Path(__file__).parents[3]


def test_generated_documentation_is_fresh() -> None:
    check = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "generate_docs.py"), "--check"], stderr=subprocess.PIPE, check=False
    )
    assert check.returncode == 0, check.stderr.decode()


def test_every_directive_has_its_row() -> None:
    rows = [line for line in (ROOT / "docs" / "configuration.md").read_text().splitlines() if line.startswith("| `")]
    names = [row.split("`")[1] for row in rows]
    assert names[: len(DIRECTIVES)] == [directive.name for directive in DIRECTIVES]


def test_every_kind_of_warning_has_its_row() -> None:
    text = (ROOT / "docs" / "changes.md").read_text().partition("| warning |")[2].partition("\n\n")[0]
    assert tuple(line.split("`")[1] for line in text.splitlines() if line.startswith("| `")) == KINDS


@pytest.mark.parametrize(
    ("document", "commands"), [("memcached.md", MEMCACHED_COMMANDS), ("commands.md", REDIS_COMMANDS)]
)
def test_every_command_has_its_row(document: str, commands: Sequence[Any]) -> None:
    text = (ROOT / "docs" / document).read_text().partition("## Keys")[0]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    named = {row.split("`")[1] for row in rows}
    assert named >= {command.name for command in commands}
    assert len(named) == len(rows)


def test_the_manual_page_is_valid_and_complete() -> None:
    """mandoc reads it; tools/install-servers installs mandoc."""
    page = ROOT / "docs" / "man" / "nutcracker.1"
    lint = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "error", str(page)], capture_output=True, text=True, check=False
    )
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")
    done = subprocess.run(["mandoc", "-T", "ascii", "-O", "width=1000", str(page)], capture_output=True, check=True)
    # Bold and underlined characters are written twice, with a backspace between.
    text = re.sub(r".\x08", "", done.stdout.decode())
    for option in start_options():
        assert re.search(rf"^ +-{option.letter}, --{option.long}\b", text, re.M), option.long
        assert option.help in text
    for command in SUB_COMMANDS:
        assert re.search(rf"^ +{command.name}$", text, re.M)
        assert all(meaning in text for _, meaning in command.statuses)
