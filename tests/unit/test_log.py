"""The log: which lines are shown, their two formats, and the treatment of log files."""

import ast
import json
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.sources import MODULES, nodes
from twemproxy import log
from twemproxy.ipc.messages import LogSettings

LINE = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3})\] (\w+) (\S+): (.*)")

Start = Callable[..., Path]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Restores the handlers and the level of the process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    log.configure(LogSettings(log.DEFAULT_LEVEL))
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Logs to a new file at a level; returns the file."""

    def configure(level: int = log.DEFAULT_LEVEL, name: str = "log", format: str = "text") -> Path:
        path = tmp_path / name
        log.configure(LogSettings(level, str(path), format))
        return path

    return configure


def lines(path: Path) -> list[tuple[str, str, str]]:
    """(level, module, message) of every line; each line must have the format of the log."""
    found = []
    for line in path.read_text().splitlines():
        match = LINE.fullmatch(line)
        assert match, line
        found.append((match[2], match[3], match[4]))
    return found


def test_line(start: Start) -> None:
    path = start()
    before = time.time()
    log.get_logger("twemproxy.supervisor.supervisor").log(log.NOTICE, "up at %s", "once")
    after = time.time()
    assert lines(path) == [("NOTICE", "supervisor.supervisor", "up at once")]
    match = LINE.fullmatch(path.read_text().rstrip("\n"))
    assert match
    seconds = time.mktime(time.strptime(match[1][:19], "%Y-%m-%d %H:%M:%S")) + float(match[1][19:])
    assert int(before * 1000) / 1000 <= seconds + 0.001 and seconds <= after


@pytest.mark.parametrize("level", range(12))
def test_level_gates_messages(start: Start, level: int) -> None:
    path = start(level)
    logger = log.get_logger("twemproxy.test")
    for name, number in log.LEVELS:
        logger.log(number, "at %s", name)
    shown = [name for name, _, _ in lines(path)]
    expected = [name for name, _ in log.LEVELS[: max(level, 3) + 1 if level else 1]]
    assert shown == expected
    assert log.current_level() == level


def test_names_of_the_twelve_levels() -> None:
    names = "EMERG ALERT CRIT ERR WARN NOTICE INFO DEBUG VERB VVERB VVVERB PVERB"
    assert [name for name, _ in log.LEVELS] == names.split()


def test_errors_of_other_libraries_are_logged(start: Start) -> None:
    path = start(1)
    logging.getLogger("asyncio").error("lost")
    logging.getLogger("asyncio").warning("slow")
    assert lines(path) == [("ERR", "asyncio", "lost")]


def test_level_outside_the_scale_is_the_nearest(start: Start) -> None:
    start()
    log.set_level(99)
    assert log.current_level() == log.MAX_LEVEL == 11
    log.set_level(-1)
    assert log.current_level() == 0


def test_always_shows_at_every_level(start: Start) -> None:
    path = start(0)
    log.always("nutcracker-%s started", "1.0")
    assert lines(path) == [("NOTICE", "nutcracker", "nutcracker-1.0 started")]


def test_percent_without_arguments_is_text(start: Start) -> None:
    path = start()
    log.always("100% sure")
    assert lines(path)[0][2] == "100% sure"


@given(st.text())
def test_one_event_is_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    log.configure(LogSettings(log.DEFAULT_LEVEL, str(path)))
    log.get_logger("twemproxy.test").error("%s", text)
    written = path.read_bytes()
    assert written.count(b"\n") == 1 and written.endswith(b"\n")
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", written)
    assert len(written.decode().splitlines()) == 1


def test_control_characters_are_escaped(start: Start) -> None:
    path = start()
    log.get_logger("twemproxy.test").error("a\r\n\x1b[31m\x00\x85\u2028\udcff\t\\é")
    assert lines(path)[0][2] == "a\\r\\n\\x1b[31m\\x00\\x85\\u2028\\udcff\\t\\é"


def test_traceback_stays_on_its_line(start: Start) -> None:
    path = start()
    try:
        raise KeyError("missing")
    except KeyError:
        log.get_logger("twemproxy.test").exception("failed")
    ((level, module, message),) = lines(path)
    assert (level, module) == ("ERR", "test")
    assert message.startswith("failed\\nTraceback") and message.endswith("KeyError: 'missing'")


def test_long_line_is_cut(start: Start) -> None:
    path = start()
    log.get_logger("twemproxy.test").error("x" * 10_000)
    written = path.read_bytes()
    assert len(written) == log.LINE_LIMIT
    assert written.endswith(b"x...\n")


def test_file_is_appended_to_and_has_mode_0644(start: Start) -> None:
    before = os.umask(0)
    try:
        path = start()
    finally:
        os.umask(before)
    log.always("one")
    start()
    log.always("two")
    assert [message for _, _, message in lines(path)] == ["one", "two"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_reopen_goes_on_in_a_new_file(start: Start) -> None:
    path = start()
    log.always("one")
    moved = path.rename(path.with_name("log.1"))
    log.always("two")
    log.reopen()
    log.always("three")
    assert [message for _, _, message in lines(moved)] == ["one", "two"]
    assert [message for _, _, message in lines(path)] == ["three"]


def test_reopen_that_fails_keeps_the_old_file(start: Start) -> None:
    path = start()
    moved = path.rename(path.with_name("log.1"))
    path.mkdir()
    with pytest.raises(log.LogError, match=re.escape(f"opening log file '{path}' failed: {os.strerror(21)}")):
        log.reopen()
    log.always("still here")
    assert [message for _, _, message in lines(moved)] == ["still here"]


def test_failed_configure_changes_nothing(start: Start, tmp_path: Path) -> None:
    path = start(3)
    with pytest.raises(log.LogError) as error:
        log.configure(LogSettings(11, str(tmp_path / "no" / "log")))
    assert str(error.value) == f"opening log file '{tmp_path / 'no' / 'log'}' failed: {os.strerror(2)}"
    log.always("still here")
    assert log.current_level() == 3
    assert len(lines(path)) == 1


def test_reconfigured_log_holds_one_descriptor(start: Start) -> None:
    start()
    before = len(os.listdir("/proc/self/fd"))
    for number in range(5):
        start(name=f"log{number}")
        log.reopen()
    assert len(os.listdir("/proc/self/fd")) == before


def test_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure(LogSettings(log.DEFAULT_LEVEL))
    log.always("here")
    log.reopen()
    log.always("and here")
    out, err = capfd.readouterr()
    assert out == ""
    assert [LINE.fullmatch(line)[4] for line in err.splitlines()] == ["here", "and here"]  # type: ignore[index]


def test_refused_write_does_not_raise() -> None:
    log.configure(LogSettings(log.DEFAULT_LEVEL, "/dev/full"))
    log.always("lost")
    log.get_logger("twemproxy.test").error("lost too")


def test_line_is_one_write(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    start()
    writes: list[bytes] = []

    def write(descriptor: int, data: bytes) -> int:
        writes.append(data)
        return len(data)

    monkeypatch.setattr(os, "write", write)
    log.always("one")
    log.get_logger("twemproxy.test").error("two\n" * 50)
    monkeypatch.undo()
    assert len(writes) == 2 and all(data.endswith(b"\n") for data in writes)


def test_disabled_message_is_not_formatted(start: Start) -> None:
    class Unformattable:
        def __str__(self) -> str:
            raise AssertionError("formatted")

    path = start(5)
    log.get_logger("twemproxy.test").info("%s", Unformattable())
    assert lines(path) == []


def test_record_that_cannot_be_formatted_does_not_raise(
    start: Start, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = start()
    root = logging.getLogger()
    with monkeypatch.context() as alone:
        alone.setattr(root, "handlers", root.handlers[-1:])  # pytest's own handler raises
        log.get_logger("twemproxy.test").error("%d", "no number")
    assert lines(path) == []
    assert "no number" in capfd.readouterr().err


def events(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of all lines."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_json_line(start: Start) -> None:
    path = start(format="json")
    before = time.time()
    log.get_logger("twemproxy.proxy.pool_log").log(
        log.NOTICE, "%(pool)s: server '%(server)s' is back", {"pool": "alpha", "server": "a", "requests": 3}
    )
    after = time.time()
    (event,) = events(path)
    moment = event.pop("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", moment)
    assert before - 0.000001 <= datetime.fromisoformat(moment).timestamp() <= after
    assert event == {
        "level": "NOTICE",
        "module": "proxy.pool_log",
        "message": "alpha: server 'a' is back",
        "pool": "alpha",
        "server": "a",
        "requests": 3,
    }


def test_both_formats_have_the_same_events(start: Start) -> None:
    paths = {each: start(format=each, name=each) for each in ("text", "json")}
    for format, path in paths.items():
        log.configure(LogSettings(6, str(path), format))
        log.always("%(pool)s: 100%% of %(requests)d", {"pool": "alpha", "requests": 7})
        log.get_logger("asyncio").error("lost")
        log.get_logger("twemproxy.test").info("a\nb\x7f\x85\udcff %s", OSError("c"))
        log.get_logger("twemproxy.test").debug("not shown")
    shown = [(event["level"], event["module"], event["message"]) for event in events(paths["json"])]
    assert [(level, module, text.translate(log._escapes)) for level, module, text in shown] == lines(paths["text"])
    assert len(shown) == 3


def test_worker_is_a_field_of_all_its_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.configure(LogSettings(log.DEFAULT_LEVEL, str(path), "json"), worker=3)
    log.always("one")
    log.get_logger("twemproxy.test").error("%(pool)s", {"pool": "alpha"})
    assert [event["worker"] for event in events(path)] == [3, 3]


def test_traceback_is_a_part_of_a_json_message(start: Start) -> None:
    path = start(format="json")
    try:
        raise KeyError("missing")
    except KeyError:
        log.get_logger("twemproxy.test").exception("failed")
    (event,) = events(path)
    assert event["message"].startswith("failed\nTraceback") and event["message"].endswith("KeyError: 'missing'")


@given(st.text(), st.text())
def test_one_event_is_one_json_line(tmp_path_factory: pytest.TempPathFactory, text: str, pool: str) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    log.configure(LogSettings(log.DEFAULT_LEVEL, str(path), "json"))
    log.get_logger("twemproxy.test").error("%(pool)s: %(reason)s", {"pool": pool, "reason": text})
    written = path.read_bytes()
    assert written.count(b"\n") == 1 and written.endswith(b"\n")
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", written)
    assert len(written.decode().splitlines()) == 1
    event = json.loads(written)
    assert event["pool"] == pool and event["message"] == f"{pool}: {text}"


@given(
    st.text(max_size=3) | st.sampled_from(["x", "\x00", "\x85", "é", "€", "😀", '"', "\udcff"]).map(lambda x: x * 5000),
    st.integers(0, 5000),
    st.integers(0, 5000),
)
def test_long_json_line_is_cut_and_valid(
    tmp_path_factory: pytest.TempPathFactory, text: str, size: int, pool_size: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    log.configure(LogSettings(log.DEFAULT_LEVEL, str(path), "json"), worker=2)
    fields = {"pool": "p" * pool_size, "requests": 12, "reason": text + "y" * size}
    log.get_logger("twemproxy.test").error("%(pool)s: %(reason)s", fields)
    written = path.read_bytes()
    assert len(written) <= log.LINE_LIMIT
    event = json.loads(written)
    assert event["level"] == "ERR" and event["requests"] == 12 and event["worker"] == 2
    assert event["time"].endswith("Z")
    whole = f"{fields['pool']}: {fields['reason']}".encode(errors="backslashreplace").decode()
    if event["message"] != whole:
        assert event["message"].endswith("...") and whole.startswith(event["message"].removesuffix("..."))
        assert len(written) > log.LINE_LIMIT - 40


def test_short_fields_of_a_long_json_message_stay_whole(start: Start) -> None:
    path = start(format="json")
    log.get_logger("twemproxy.test").error(
        "%(pool)s: server '%(server)s' " + "x" * 10_000, {"pool": "alpha", "server": "a" * 200}
    )
    (event,) = events(path)
    assert event["pool"] == "alpha" and event["server"] == "a" * 200
    assert event["message"].endswith("x...") and len(event["message"]) > 3500


def test_reopened_log_keeps_its_format(start: Start) -> None:
    path = start(format="json")
    log.always("one")
    moved = path.rename(path.with_name("log.1"))
    log.reopen()
    log.always("two")
    assert [event["message"] for event in events(moved) + events(path)] == ["one", "two"]


def named_fields(path: Path) -> set[str]:
    """The fields of the messages in a module: those that a text names, and the other ones in the same dictionary."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("_logger.", "log.always", "log")):
            for part in (each for argument in node.args for each in ast.walk(argument)):
                if isinstance(part, ast.Dict):
                    found |= {str(key.value) for key in part.keys if isinstance(key, ast.Constant)}
                elif isinstance(part, ast.Constant) and isinstance(part.value, str):
                    found |= set(re.findall(r"%\((\w+)\)", part.value))
    return found


def unnamed_values(path: Path) -> list[str]:
    """The messages in a module with values that are no fields."""
    return [
        part.value
        for node in nodes(path)
        if isinstance(node, ast.Call) and re.match(r"(_logger|log)\.\w+$", ast.unparse(node.func))
        for argument in node.args
        for part in ast.walk(argument)
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and re.search(r"%[^%( ]", part.value)
    ]


def test_all_values_of_messages_are_fields() -> None:
    assert not [text for path in MODULES for text in unnamed_values(path)]


def test_fields_are_those_of_the_table() -> None:
    named = set().union(*map(named_fields, MODULES))
    assert named == set(log.FIELDS)
    assert not named & {"time", "level", "module", "message"}
