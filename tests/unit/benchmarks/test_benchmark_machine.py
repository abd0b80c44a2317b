"""Our proxy is never taken for the original nutcracker."""

from pathlib import Path

import pytest
from benchmarks import machine


def test_a_script_that_calls_itself_nutcracker_is_not_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "nutcracker"
    script.write_text("#!/bin/sh\necho This is nutcracker-0.5.0\n")
    script.chmod(0o755)
    assert machine.version_of([str(script), "-V"]) == "This is nutcracker-0.5.0"
    monkeypatch.setattr(machine, "NUTCRACKER_FOLDERS", (str(tmp_path),))
    assert machine.find_original() is None


def test_ours_may_be_any_command_line() -> None:
    assert machine.find_programs("python -m 'my proxy'").ours == ["python", "-m", "my proxy"]
