"""What all sub-commands have in common: names, help, errors, exit statuses."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from twemproxy.cli import main
from twemproxy.commands import HELP, NAMES, SUB_COMMANDS, SubCommand

Captured = pytest.CaptureFixture[str]

PACKAGE = Path(__file__).parents[3] / "src" / "twemproxy" / "commands"


@pytest.mark.parametrize("command", SUB_COMMANDS, ids=lambda command: command.name)
def test_a_sub_command_has_a_module_with_its_parts(command: SubCommand) -> None:
    module = importlib.import_module(f"twemproxy.commands.{command.name}")
    assert module.DESCRIPTION and module.add_arguments and module.run
    assert dict(command.statuses)[1].startswith(("an error", "errors"))


@pytest.mark.parametrize("name", [command.name for command in SUB_COMMANDS])
def test_help_of_a_sub_command(capsys: Captured, name: str) -> None:
    assert main([name, "--help"]) == 0
    explained = capsys.readouterr()
    assert main([HELP, name]) == 0
    assert capsys.readouterr() == explained
    out, err = explained
    assert out.startswith(f"usage: nutcracker {name} ")
    assert err == ""
    statuses = dict(next(command for command in SUB_COMMANDS if command.name == name).statuses)
    assert all(f"  {status}  {meaning}\n" in out for status, meaning in statuses.items())


def test_help_lists_all(capsys: Captured) -> None:
    assert main([HELP]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert all(f"  {command.name} " in out and command.help in out for command in SUB_COMMANDS)
    assert main(["-h"]) == 0
    names = ", ".join(command.name for command in SUB_COMMANDS)
    assert f" Sub-commands: {names} (see nutcracker help) " in " ".join(capsys.readouterr().err.split()) + " "


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([HELP, "nothing"], "nutcracker help: there is no sub-command 'nothing'; nutcracker help lists them\n"),
        (["plan", "--nothing"], "nutcracker plan: unrecognized arguments: --nothing\n"),
        (["plan", "a", "--js"], "nutcracker plan: unrecognized arguments: --js\n"),
    ],
)
def test_mistakes_have_status_1(capsys: Captured, arguments: list[str], message: str) -> None:
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith(message)


def test_only_the_first_word_is_a_sub_command(capsys: Captured) -> None:
    for name in NAMES:
        assert main(["-V", name]) == 0
        assert capsys.readouterr().err.startswith("This is nutcracker")


def test_a_start_imports_no_sub_command() -> None:
    code = "import sys; from twemproxy.cli import main; main(['-V']); print(*sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(process.stdout.split())
    assert not {"argparse", "twemproxy.commands.frame"} & loaded
    assert "twemproxy.commands" in loaded


def test_a_reader_that_closes_is_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "many.yml"
    servers = "".join(f"    - 127.0.0.1:{port}:1\n" for port in range(1, 400))
    path.write_text(f"alpha:\n  listen: 127.0.0.1:22121\n  distribution: modula\n  servers:\n{servers}")
    other = tmp_path / "other.yml"
    other.write_text(path.read_text().replace("modula", "ketama"))
    command = f"'{sys.executable}' -m twemproxy plan {path} --from {other} --json | true"
    process = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert (process.stdout, process.stderr) == ("", "")


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "my.yml"
    path.write_text("alpha:\n  listen: 127.0.0.1:1\n  servers:\n    - h:1:1\n")
    with open("/dev/full", "wb") as full:
        process = subprocess.run(
            [sys.executable, "-m", "twemproxy", "check", str(path)], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert process.returncode == 1
    assert process.stderr == b"nutcracker check: the output cannot be written: No space left on device\n"


def test_a_locale_without_the_characters_of_a_name(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("old.yml", "new.yml")]
    for path, name in zip(paths, "éа", strict=True):
        path.write_text(f"alpha:\n  listen: 127.0.0.1:1\n  servers:\n    - h:1:1 {name}\n", encoding="utf-8")
    process = subprocess.run(
        [sys.executable, "-m", "twemproxy", "plan", str(paths[1]), "--from", str(paths[0])],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)},
        check=False,
    )
    assert process.returncode == 2
    assert b'server "\\xe9" at h:1 is removed' in process.stdout
    assert process.stderr == b""


def test_every_module_is_in_the_table() -> None:
    helpers = {"__init__", "frame", "comparison", "control", "fleet", "texts", "grammar", "completion_scripts"}
    helpers |= {"switching", "versions"}
    helpers |= {"frames", "rates", "screen"}
    assert {path.stem for path in PACKAGE.glob("*.py")} - helpers == {command.name for command in SUB_COMMANDS}
