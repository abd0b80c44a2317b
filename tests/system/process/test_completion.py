"""``nutcracker completion``: real shells complete the command line. tools/install-servers installs them."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from harness.proxy import run
from twemproxy.cli import start_options
from twemproxy.commands import SUB_COMMANDS
from twemproxy.commands.grammar import grammar_of

FILE = "my-file.yml"
TYPED = {
    "expl": ["explain"],
    "explain --ag": ["explain", "--against"],
    "check my-f": ["check", FILE],
    "check --conn": ["check", "--connect"],
    "--test": ["--test-conf"],
    "-c my-f": ["-c", FILE],
    "--watch --conf-f": ["--watch", "--conf-file"],
    "completion fi": ["completion", "fish"],
    "help upg": ["help", "upgrade"],
    "explain k --config my-f": ["explain", "k", "--config", FILE],
    "explain k --config=my-f": ["explain", "k", f"--config={FILE}"],
    "plan new --from my-f": ["plan", "new", "--from", FILE],
    "workers --no-such": ["workers", "--no-such"],
    "eject --reason my-f": ["eject", "--reason", "my-f"],
}
"""What is typed before the tabulator, and the words of the completed command line."""

SHOW = """
nutcracker() { printf '<%s>' "$@"; echo; }
PS1='$ '
"""


def script(shell: str, folder: Path) -> Path:
    """The script for a shell, in a file."""
    done = run("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    path = folder / f"completion.{shell}"
    path.write_text(done.stdout)
    return path


def type_into(command: str, folder: Path, **variables: str) -> list[list[str]]:
    """Type all of TYPED into a shell on a terminal, each with a tabulator; returns the words of each command line.

    ``command``: the shell, which shows the words of a command line of nutcracker. ``script`` of util-linux makes the
    terminal.
    """
    (folder / FILE).touch()
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        input="".join(f"nutcracker {typed}\t\n" for typed in TYPED) + "exit\n",
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env={**os.environ, "TERM": "dumb", **variables},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("<")]
    assert len(lines) == len(TYPED), done.stdout
    return [line.removeprefix("<").removesuffix(">").split("><") for line in lines]


def test_bash(tmp_path: Path) -> None:
    (tmp_path / "rc").write_text(f"source {script('bash', tmp_path)}\n{SHOW}")
    assert type_into("bash --noprofile --rcfile rc -i", tmp_path) == list(TYPED.values())


def test_zsh(tmp_path: Path) -> None:
    start = f"autoload -Uz compinit; compinit -u -d {tmp_path}/dump\nsource {script('zsh', tmp_path)}\n"
    (tmp_path / ".zshrc").write_text(start + SHOW)
    assert type_into("zsh -i", tmp_path, ZDOTDIR=str(tmp_path)) == list(TYPED.values())


def test_zsh_loads_it_by_itself(tmp_path: Path) -> None:
    """As a function in a folder of $fpath."""
    script("zsh", tmp_path).rename(tmp_path / "_nutcracker")
    start = f"fpath=({tmp_path} $fpath)\nautoload -Uz compinit; compinit -u -d {tmp_path}/dump\n"
    (tmp_path / ".zshrc").write_text(start + SHOW)
    assert type_into("zsh -i", tmp_path, ZDOTDIR=str(tmp_path)) == list(TYPED.values())


def test_fish(tmp_path: Path) -> None:
    (tmp_path / FILE).touch()
    path = script("fish", tmp_path)
    for typed, words in TYPED.items():
        done = subprocess.run(
            ["fish", "-c", f"source {path}; complete -C {shlex.quote(f'nutcracker {typed}')}"],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        assert done.stderr == ""
        found = [line.split("\t")[0] for line in done.stdout.splitlines()]
        assert found == ([words[-1]] if words[-1] != typed.split()[-1] else []), typed


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_option_is_there(shell: str) -> None:
    text = json.loads(run("completion", shell, "--json").stdout)["script"]
    grammar = grammar_of(start_options())
    assert [command.name for command in grammar.commands] == [*(command.name for command in SUB_COMMANDS), "help"]
    for command in (grammar.start, *grammar.commands):
        for option in command.options:
            for name in option.names:
                shown = name if shell != "fish" else f"-l {name[2:]}" if name[:2] == "--" else f"-s {name[1:]}"
                assert shown in text


def test_another_shell() -> None:
    done = run("completion", "csh")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "nutcracker completion: there is no completion for 'csh': the shells are bash, zsh, fish\n"
