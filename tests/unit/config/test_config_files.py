"""The files that are used when the command line names none."""

from pathlib import Path

import pytest

from twemproxy.config.files import PLACES, NoConfiguration, Places, complete


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """The default places, in a folder that contains none of the files."""
    for name in ("conf", "etc", "log", "run"):
        (tmp_path / name).mkdir()
    return Places(*(str(tmp_path / name) for name in ("conf/yml", "etc/yml", "log/log", "run/p.pid", "run/p.sock")))


def test_they_are_nutcrackers_and_those_of_debians_package() -> None:
    assert PLACES == (
        "conf/nutcracker.yml",
        "/etc/nutcracker/nutcracker.yml",
        "/var/log/nutcracker/nutcracker.log",
        "/run/nutcracker/nutcracker.pid",
        "/run/nutcracker/nutcracker.sock",
    )


def test_a_named_configuration_changes_nothing_else(places: Places) -> None:
    Path(places.packaged).touch()
    for given in ({"conf_file": "mine"}, {"conf_file": places.packaged, "daemonize": True}):
        assert complete(given, places) == given


def test_the_local_configuration_comes_first(places: Places) -> None:
    Path(places.packaged).touch()
    Path(places.local).touch()
    assert complete({"daemonize": True}, places) == {"daemonize": True, "conf_file": places.local}


@pytest.mark.parametrize("exist", [False, True])
def test_with_the_packages_configuration_log_and_pid_file_are_the_packages(places: Places, exist: bool) -> None:
    Path(places.packaged).touch()
    if exist:
        Path(places.log).touch()
        Path(places.pid).touch()
    defaults = {"conf_file": places.packaged, "log_path": places.log}
    control = {"control_socket": places.control}
    assert complete({}, places) == {**defaults, **control}
    assert complete({"daemonize": True}, places) == {"daemonize": True, **defaults, "pid_file": places.pid, **control}
    given = {"daemonize": True, "log_path": "", "pid_file": "mine"}
    assert complete(given, places) == {"conf_file": places.packaged, **given, "control_socket": "mine.sock"}


def test_the_control_socket_is_beside_the_pid_file(places: Places) -> None:
    given = {"conf_file": "mine", "pid_file": "/run/a.pid"}
    assert complete(given, places) == {**given, "control_socket": "/run/a.sock"}
    for chosen in ("/run/other", ""):
        assert complete({**given, "control_socket": chosen}, places) == {**given, "control_socket": chosen}


def test_files_that_cannot_be_written_are_not_used(places: Places) -> None:
    Path(places.packaged).touch()
    Path(places.log).mkdir()
    Path(places.pid).parent.rmdir()
    assert complete({"daemonize": True}, places) == {"conf_file": places.packaged, "daemonize": True}


def test_neither_is_there(places: Places) -> None:
    with pytest.raises(NoConfiguration, match=f"neither '{places.local}' nor '{places.packaged}' exists"):
        complete({}, places)
