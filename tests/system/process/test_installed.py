"""The program nutcracker as built for a wheel: the packages that it uses where it is installed, and its errors."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import msgspec
import pytest
import yaml

import twemproxy
from harness.proxy import PROGRAM, Proxy, redis_pool
from harness.resp import OK
from harness.servers import RedisServer
from twemproxy import __version__

ROOT = PROGRAM.parents[2]
BANNER = f"This is nutcracker-{__version__}\nasync event backend: epoll\n\n"
INTERPRETER = os.path.realpath(sys.executable)
SITE_PACKAGES = f"lib/python{sysconfig.get_python_version()}/site-packages"


def build(folder: Path, python: str = sys.executable, **environment: str) -> tuple[Path, str]:
    """Run the command of ``setup.py`` that makes the program; returns the program and the output of the command."""
    command = [python, "setup.py", "--quiet", "build_scripts", "--build-dir", str(folder)]
    result = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True
    )
    return folder / "nutcracker", result.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program for a wheel, which contains no path of a source tree."""
    return build(tmp_path_factory.mktemp("built"))[0]


def install(program: Path, prefix: Path) -> Path:
    """Install the program and its packages below ``prefix``, as pip does; returns the installed program."""
    packages = prefix / SITE_PACKAGES
    packages.mkdir(parents=True, exist_ok=True)
    for package in (twemproxy, msgspec, yaml):
        assert package.__file__
        (packages / package.__name__).symlink_to(Path(package.__file__).parent)
    return install_alone(program, prefix)


def test_the_manual_page_and_the_completion_are_where_programs_look(tmp_path: Path) -> None:
    """The part of an installation that copies them; bash-completion, zsh and fish look below the prefix's share."""
    command = [sys.executable, "setup.py", "--quiet", "install_data", "--install-dir", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    assert (tmp_path / "share/man/man1/nutcracker.1").read_text() == (ROOT / "docs/man/nutcracker.1").read_text()
    for shell, path in {
        "bash": "share/bash-completion/completions/nutcracker",
        "zsh": "share/zsh/site-functions/_nutcracker",
        "fish": "share/fish/vendor_completions.d/nutcracker.fish",
    }.items():
        script = subprocess.run([PROGRAM, "completion", shell], stdout=subprocess.PIPE, check=True).stdout
        assert (tmp_path / path).read_bytes() == script


def install_alone(program: Path, prefix: Path) -> Path:
    """Install the program without any package."""
    (prefix / "bin").mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(program, prefix / "bin"))


def run(*command: str | Path, **environment: str) -> tuple[int, str]:
    """Exit status and standard error of a command whose only environment variables are these."""
    result = subprocess.run(
        command, cwd="/", env=environment, stderr=subprocess.PIPE, text=True, check=False, timeout=30
    )
    return result.returncode, result.stderr


def test_it_uses_the_virtual_environment_that_it_is_in(built: Path, tmp_path: Path, servers: list[RedisServer]) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    program = install(built, tmp_path / "venv")
    assert run(program, "-V") == (0, BANNER)
    link = tmp_path / "nutcracker"
    link.symlink_to(program)
    with Proxy(redis_pool(*servers), command=[str(link)]) as proxy:
        assert proxy.client().ask("SET", "a", "1") == OK
        assert {os.readlink(f"/proc/{pid}/exe") for pid in proxy.processes()} == {str(program)}


def test_it_uses_the_packages_beside_it(built: Path, tmp_path: Path, servers: list[RedisServer]) -> None:
    program = install(built, tmp_path / "prefix")
    assert run(program, "-V") == (0, BANNER)
    with Proxy(redis_pool(*servers), command=[str(program)]) as proxy:
        assert proxy.client().ask("SET", "a", "1") == OK


def test_it_says_that_its_package_is_not_there(built: Path, tmp_path: Path) -> None:
    program = install_alone(built, tmp_path)
    reason = f"nutcracker: No module named 'twemproxy': install twemproxy again with {INTERPRETER}\n"
    assert run(program, "-V") == (1, reason)


def test_it_says_that_its_python_is_not_there(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--copies", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    program, _ = build(tmp_path, str(python), PYTHONPATH=sysconfig.get_path("purelib"))
    shutil.rmtree(tmp_path / "venv")
    version = sysconfig.get_python_version()
    reason = f"nutcracker: there is no Python {version} at {python} or beside this program: install twemproxy again\n"
    assert run(program, "-V") == (1, reason)


def test_a_script_is_built_where_no_program_can_be(tmp_path: Path) -> None:
    script, said = build(tmp_path, CC="false")
    reason = "false ended with status 1"
    assert said == f"warning: nutcracker becomes a Python script, since it could not be linked: {reason}\n"
    assert script.read_text().startswith("#!python\n"), "pip replaces this line by the path of the Python"
    status, err = run(sys.executable, script, "-V", PYTHONPATH=str(ROOT / "src"))
    assert (status, err.startswith(f"{BANNER}started by {sys.executable}: ")) == (0, True)
