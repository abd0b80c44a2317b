"""The documents that tools/generate_docs.py makes of tables are what it would make."""

import subprocess
import sys
from pathlib import Path

from twemproxy.config.directives import DIRECTIVES
from twemproxy.protocol.memcache.commands import COMMANDS

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


def test_every_memcached_command_has_its_row() -> None:
    text = (ROOT / "docs" / "memcached.md").read_text()
    rows = [line for line in text.partition("## Keys")[0].splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [command.name for command in COMMANDS]
