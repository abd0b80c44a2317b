"""The command line: options, messages, exit codes, informational modes."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from twemproxy import __version__, cli
from twemproxy.cli import main
from twemproxy.config.files import PLACES, Places, complete
from twemproxy.config.loading import load
from twemproxy.config.options import Options
from twemproxy.config.warnings import warnings
from twemproxy.stats.catalogue import (
    POOL_FIGURES,
    POOL_METRICS,
    PROCESS_FIGURES,
    SERVER_FIGURES,
    SERVER_METRICS,
    Fact,
    Metric,
)
from twemproxy.supervisor import early_worker, supervisor
from twemproxy.supervisor.early_worker import WorkerProgram

GOOD = "alpha:\n  listen: 127.0.0.1:22121\n  timeout: 400\n  servers:\n    - 127.0.0.1:6379:1\n"
BANNER = f"This is nutcracker-{__version__}\nasync event backend: epoll\n\n"
LETTERS = "hVtdDvocsaipmTMCwWLfPA"

Captured = pytest.CaptureFixture[str]


def run_main(capsys: Captured, *arguments: str) -> tuple[int, str]:
    """The exit status and standard error; standard output must be empty."""
    status = main(arguments)
    out, err = capsys.readouterr()
    assert out == ""
    return status, err


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Options]:
    """The options of every normal run, which ends at once with status 7; the default configuration file exists."""
    runs: list[Options] = []
    local = tmp_path / "started" / PLACES.local
    local.parent.mkdir(parents=True)
    local.write_text(GOOD)
    monkeypatch.chdir(tmp_path / "started")

    def run(options: Options, *, program: WorkerProgram, early: None) -> int:
        runs.append(options)
        return 7

    monkeypatch.setattr(supervisor, "run", run)
    monkeypatch.setattr(early_worker, "EarlyWorker", lambda *_: None)
    return runs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-v"], "option -v requires a number"),
        (["-v", "abc"], "option -v requires a number"),
        (["-v", ""], "option -v requires a number"),
        (["-v", "-1"], "option -v requires a number"),
        (["-v", "1.5"], "option -v requires a number"),
        (["-v", "٣"], "option -v requires a number"),
        (["-v", "4294967295"], "option -v requires a number"),
        (["-v", "2147483648"], "option -v requires a number"),
        (["--verb"], "option -v requires a number"),
        (["--verbose"], "option -v requires a number"),
        (["-s"], "option -s requires a number"),
        (["-s", "x"], "option -s requires a number"),
        (["-s", ""], "option -s requires a number"),
        (["-s", "0"], "option -s value 0 is not a valid port"),
        (["-s", "65536"], "option -s value 65536 is not a valid port"),
        (["-s", "4294967297"], "option -s value 4294967297 is not a valid port"),
        (["-i"], "option -i requires a number"),
        (["-i", "x"], "option -i requires a number"),
        (["-i", "4294967296"], "option -i requires a number"),
        (["-m"], "option -m requires a number"),
        (["-m", "0"], "option -m requires a non-zero number"),
        (["-m", "x"], "option -m requires a non-zero number"),
        (["-m", ""], "option -m requires a non-zero number"),
        (["-m", "-5"], "option -m requires a non-zero number"),
        (["-m", "511"], "mbuf chunk size must be between 512 and 16777216 bytes"),
        (["-m", "16777217"], "mbuf chunk size must be between 512 and 16777216 bytes"),
        (["-m", "4294967808"], "mbuf chunk size must be between 512 and 16777216 bytes"),
        (["-T"], "option -T requires a number"),
        (["-T", "5s"], "option -T requires a number"),
        (["--drain-time=1.5"], "option -T requires a number"),
        (["-M"], "option -M requires a size in bytes, kb, mb or gb"),
        (["-M", ""], "option -M requires a size in bytes, kb, mb or gb"),
        (["-M", "mb"], "option -M requires a size in bytes, kb, mb or gb"),
        (["-M", "-1"], "option -M requires a size in bytes, kb, mb or gb"),
        (["-M", "512m"], "option -M requires a size in bytes, kb, mb or gb"),
        (["-M", "512 mb"], "option -M requires a size in bytes, kb, mb or gb"),
        (["--max-memory=1tb"], "option -M requires a size in bytes, kb, mb or gb"),
        (["-M", "8388607"], "option -M value 8388607 must be 0 or at least 8mb"),
        (["-M", "8191kb"], "option -M value 8191kb must be 0 or at least 8mb"),
        (["-M", "9223372036854775807kb"], "option -M value 9223372036854775807kb is too large"),
        (["-w", "0"], "option -w requires a number from 1 to 256, or auto"),
        (["-w", "257"], "option -w requires a number from 1 to 256, or auto"),
        (["--workers=all"], "option -w requires a number from 1 to 256, or auto"),
        (["-f"], "option -f requires text or json"),
        (["-f", "xml"], "option -f requires text or json"),
        (["--log-format="], "option -f requires text or json"),
        (["-o"], "option -o requires a file name"),
        (["-c"], "option -c requires a file name"),
        (["--conf-file"], "option -c requires a file name"),
        (["-p"], "option -p requires a file name"),
        (["-a"], "option -a requires a string"),
        (["-x"], "invalid option -- 'x'"),
        (["-P"], "option -P requires the word twemproxy"),
        (["--metrics-compat=nutcracker"], "option -P value nutcracker is unknown: it can be twemproxy"),
        (["-?"], "invalid option -- '?'"),
        (["-Vx"], "invalid option -- 'x'"),
        (["-X", "foo"], "invalid option -- 'X'"),
        (["--help=foo"], "invalid option -- 'h'"),
        (["--nope"], "invalid option -- 'nope'"),
        (["--v"], "invalid option -- 'v'"),
        (["--stats", "1"], "invalid option -- 'stats'"),
        (["--=x"], "invalid option -- ''"),
        (["-vabc", "-x"], "option -v requires a number"),
        (["-x", "-vabc"], "invalid option -- 'x'"),
        (["-v", "3", "-v"], "option -v requires a number"),
        (["-m", "5", "-c"], "mbuf chunk size must be between 512 and 16777216 bytes"),
        (["-V", "-x"], "invalid option -- 'x'"),
        (["-t", "-V", "-s", "0"], "option -s value 0 is not a valid port"),
    ],
)
def test_option_error(capsys: Captured, arguments: list[str], message: str) -> None:
    status, err = run_main(capsys, *arguments)
    assert status == 1
    first, _, usage = err.partition("\n")
    assert first == f"nutcracker: {message}"
    assert usage.startswith("Usage: nutcracker [-")


@pytest.mark.parametrize(
    "arguments",
    [
        *(["-V"], ["--version"], ["--vers"], ["-Vt"], ["-V", "-t", "-c", "bad"], ["stray", "-V"], ["-", "-V"]),
        *(["-V", "--", "-x"], ["--verb=3", "-V"], ["--stats-p=1", "-V"], ["-dV"], ["-v99V", "-V"][1:]),
        *(["-a", "", "-V"], ["-o", "", "-V"], ["-c", "", "-V"], ["-p", "", "-V"], ["-i", "0", "-V"]),
    ],
)
def test_version(capsys: Captured, arguments: list[str]) -> None:
    assert main(arguments, native=True) == 0
    assert capsys.readouterr() == ("", BANNER)


def test_version_tells_that_a_python_runs(capsys: Captured) -> None:
    status, err = run_main(capsys, "-V")
    assert status == 0
    assert err.startswith(f"{BANNER}started by {sys.executable}: ")


def test_help_lists_every_option_with_its_default(capsys: Captured) -> None:
    status, err = run_main(capsys, "-h")
    assert status == 0
    assert err.startswith(BANNER + "Usage: nutcracker [-hVtdDW] [-v ")
    lines = err.splitlines()
    options = [line for line in lines if line.startswith("  -")]
    assert [line[3] for line in options] == list(LETTERS)
    assert all(line[25:27] == ": " for line in options)
    defaults = "".join(line for line in options if "default" in line)
    expected = [
        "5",
        "stderr",
        "conf/nutcracker.yml or /etc/nutcracker/nutcracker.yml",
        "22222",
        "0.0.0.0",
        "30000 msec",
        "off",
        "16384 bytes",
    ]
    expected += ["10 sec", "no limit", "beside the pid file", "1", "0 sec", "text", "off", "stdout"]
    assert re.findall(r"default: ([^,)]+)", defaults) == expected
    assert max(map(len, lines)) <= 110


def described(metrics: tuple[Metric | Fact, ...], *, added: bool) -> list[str]:
    return [f'  {metric.name:<20}"{metric.help}"' for metric in metrics if metric.added == added]


def test_described_statistics(capsys: Captured) -> None:
    status, err = run_main(capsys, "-D")
    assert status == 0
    nutcrackers, *added = err.split("\n\nprocess stats that only GET /stats.json shows:\n")
    expected = ["pool stats:", *described(POOL_METRICS, added=False), ""]
    expected += ["server stats:", *described(SERVER_METRICS, added=False)]
    assert nutcrackers == BANNER + "\n".join(expected)
    expected = [*described(PROCESS_FIGURES, added=True), ""]
    expected += [
        "pool stats that only GET /stats.json shows:",
        *described(POOL_FIGURES, added=True),
        "",
    ]
    expected += [
        "server stats that only GET /stats.json shows:",
        *described(SERVER_FIGURES, added=True),
        "",
    ]
    assert added == ["\n".join(expected)]


def test_help_comes_before_the_statistics(capsys: Captured) -> None:
    _, help_text = run_main(capsys, "-h")
    _, statistics = run_main(capsys, "-D")
    assert run_main(capsys, "-tDh") == (0, help_text + statistics.removeprefix(BANNER))


def test_valid_configuration(capsys: Captured, tmp_path: Path) -> None:
    path = tmp_path / "my.yml"
    path.write_text(GOOD)
    expected = (0, f"nutcracker: configuration file '{path}' syntax is ok\n")
    assert run_main(capsys, "-t", "-c", str(path)) == expected
    assert run_main(capsys, f"-dtc{path}") == expected
    assert run_main(capsys, "--test", f"--conf={path}", "stray") == expected


def test_a_valid_configuration_may_have_warnings(capsys: Captured, tmp_path: Path) -> None:
    path = tmp_path / "my.yml"
    path.write_text(GOOD.replace("timeout: 400", "hash: crc32") + "    - 127.0.0.1:6380:1 b\n")
    status, err = run_main(capsys, "-t", "-c", str(path))
    *given, last = err.splitlines()
    assert (status, last) == (0, f"nutcracker: configuration file '{path}' syntax is ok")
    assert [line.partition(" server ")[0] for line in given[:1]] == ['nutcracker: warning: pool "alpha":']
    assert given == [f"nutcracker: warning: {warning}" for warning in warnings(load(str(path)))]


def test_the_number_of_workers_counts_for_the_check(capsys: Captured, tmp_path: Path) -> None:
    path = tmp_path / "my.yml"
    path.write_text(GOOD + "  max_backend_connections: 1\n")
    reason = '"max_backend_connections" is 1, but 2 workers need 2: "server_connections" is 1'
    assert run_main(capsys, "-t", "-c", str(path))[0] == 0
    assert run_main(capsys, "-t", "-w", "2", "-c", str(path)) == (
        1,
        f'nutcracker: {path}:6:28: pool "alpha": directive {reason}\n'
        f"nutcracker: configuration file '{path}' syntax is invalid\n",
    )


def test_invalid_configuration_says_why_once(capsys: Captured, tmp_path: Path) -> None:
    path = tmp_path / "my.yml"
    path.write_text(GOOD + "  hahs: md5\n")
    reason = 'pool "alpha": directive "hahs" is unknown, did you mean "hash"?'
    assert run_main(capsys, "-t", "-c", str(path)) == (
        1,
        f"nutcracker: {path}:6:3: {reason}\nnutcracker: configuration file '{path}' syntax is invalid\n",
    )


def test_invalid_configuration_names_every_error(capsys: Captured, tmp_path: Path) -> None:
    path = tmp_path / "my.yml"
    path.write_text(GOOD + "  hahs: md5\n  backlog: 5s\n")
    assert run_main(capsys, "-t", "-c", str(path)) == (
        1,
        f'nutcracker: {path}:6:3: pool "alpha": directive "hahs" is unknown, did you mean "hash"?\n'
        f'nutcracker: {path}:7:12: pool "alpha": directive "backlog" is not a number: "5s"\n'
        f"nutcracker: configuration file '{path}' syntax is invalid\n",
    )


def test_configuration_that_cannot_be_opened(capsys: Captured, tmp_path: Path) -> None:
    path = tmp_path / "none.yml"
    assert run_main(capsys, "-t", "-c", str(path)) == (
        1,
        f"nutcracker: failed to open configuration '{path}': No such file or directory\n"
        f"nutcracker: configuration file '{path}' syntax is invalid\n",
    )


def test_default_configuration_file(capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "nutcracker.yml").write_text(GOOD)
    assert run_main(capsys, "-t") == (0, "nutcracker: configuration file 'conf/nutcracker.yml' syntax is ok\n")


def in_package(folder: Path) -> Places:
    """The default files of a package that is installed in this folder."""
    for name in ("etc", "log", "run"):
        (folder / name).mkdir()
    (folder / "etc" / "nutcracker.yml").write_text(GOOD)
    names = ("etc/nutcracker.yml", "log/log", "run/pid", "run/sock")
    return Places("conf/nutcracker.yml", *(str(folder / name) for name in names))


def test_started_as_a_package_does_it(
    capsys: Captured, started: list[Options], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = in_package(tmp_path)
    monkeypatch.setattr(cli, "complete", partial(complete, places=places))
    monkeypatch.chdir(tmp_path)
    assert run_main(capsys, "-t", "-d") == (
        0,
        f"nutcracker: configuration file '{places.packaged}' syntax is ok\n",
    )
    said = f"nutcracker: the log file is '{places.log}', as in Debian's package; use -o for another file\n"
    assert run_main(capsys) == (7, said)
    assert run_main(capsys, "-d", "-v", "6") == (7, "")
    assert run_main(capsys, "-d", "-o", "", "-p", "mine") == (7, "")
    assert [(options.conf_file, options.log_path, options.pid_file) for options in started] == [
        (places.packaged, places.log, ""),
        (places.packaged, places.log, places.pid),
        (places.packaged, "", "mine"),
    ]


def test_no_configuration_at_all(capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = in_package(tmp_path)
    Path(places.packaged).unlink()
    monkeypatch.setattr(cli, "complete", partial(complete, places=places))
    monkeypatch.chdir(tmp_path)
    said = (
        f"nutcracker: no configuration file: neither 'conf/nutcracker.yml' nor '{places.packaged}' exists, "
        "and there is no option -c\n"
    )
    assert run_main(capsys, "-t") == run_main(capsys, "-d") == run_main(capsys) == (1, said)


def test_normal_run_gets_the_defaults(started: list[Options]) -> None:
    assert main([]) == 7
    assert started == [
        Options(
            conf_file="conf/nutcracker.yml",
            log_path="",
            log_level=5,
            stats_addr="0.0.0.0",
            stats_port=22222,
            stats_interval=30000,
            pid_file="",
            control_socket="",
            mbuf_size=16384,
            daemonize=False,
            drain_time=10,
            drain_delay=0,
            watch=False,
            max_memory=0,
            log_format="text",
        )
    ]


def test_normal_run_gets_every_option(started: list[Options]) -> None:
    short = [
        "-d",
        "-v",
        "11",
        "-o",
        "l",
        "-c",
        "c",
        "-s",
        "1",
        "-a",
        "/s",
        "-i",
        "0",
        "-p",
        "p",
        "-m",
        "512",
        "-C",
        "q",
    ]
    long = [
        *("--daemonize", "--verbose=99", "--output=l", "--conf-file=c", "--stats-port=1", "--stats-addr=/s"),
        *("--stats-interval=0", "--pid-file=p", "--mbuf-size=512", "--control-socket=q"),
    ]
    bundled = [
        "stray",
        "-dv0011",
        "-ol",
        "-cc",
        "-s00001",
        "-a",
        "/s",
        "other",
        "-i0",
        "-pp",
        "-m",
        "512",
        "-Cq",
        "--",
        "-x",
    ]
    for arguments in (short, long, bundled):
        assert main(arguments) == 7
    assert len(started) == 3
    assert started[0] == started[1] == started[2]
    assert started[0] == Options("c", "l", 11, "/s", 1, 0, "p", "q", 512, True)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("8388608", 8 << 20), ("8192kb", 8 << 20), ("512mb", 512 << 20), ("512MB", 512 << 20), ("4gb", 4 << 30)],
)
def test_sizes_of_memory(started: list[Options], text: str, size: int) -> None:
    main(["-M", text])
    main([f"--max-mem={text}"])
    assert [options.max_memory for options in started] == [size, size]


def test_drain_delay_and_watch(started: list[Options]) -> None:
    main(["-L", "3"])
    main(["--drain-delay=4", "--watch"])
    main(["-W"])
    assert [(options.drain_delay, options.watch) for options in started] == [(3, False), (4, True), (0, True)]


def test_log_format(started: list[Options]) -> None:
    main(["-f", "json"])
    main(["--log-format=text"])
    main(["--log=json"])
    assert [options.log_format for options in started] == ["json", "text", "json"]


def test_drain_time(started: list[Options]) -> None:
    main(["-T", "0"])
    main(["--drain-time", "30"])
    assert [options.drain_time for options in started] == [0, 30]


def test_last_of_repeated_options_counts(started: list[Options]) -> None:
    main(["-c", "a", "-v", "1", "--conf-file", "b", "-v2"])
    assert (started[0].conf_file, started[0].log_level) == ("b", 2)


def test_arguments_of_the_process_are_the_default(started: list[Options], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["nutcracker", "-c", "from.yml"])
    main()
    assert started[0].conf_file == "from.yml"


def command(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "twemproxy", *arguments], capture_output=True, check=False)


def test_processes_exit_as_the_command_says(tmp_path: Path) -> None:
    path = tmp_path / "my.yml"
    path.write_text(GOOD)
    for arguments, status in ((["-V"], 0), (["-x"], 1), (["-t", "-c", str(path)], 0), (["-t", "-c", "none"], 1)):
        process = command(*arguments)
        assert process.returncode == status
        assert process.stdout == b""
        assert process.stderr.startswith(b"This is" if arguments == ["-V"] else b"nutcracker: ")


def test_argument_that_is_not_utf8_is_named() -> None:
    process = subprocess.run([sys.executable, "-m", "twemproxy", "-t", b"-c\xff"], stderr=subprocess.PIPE, check=False)
    assert process.returncode == 1
    assert b"syntax is invalid" in process.stderr
    assert b"Traceback" not in process.stderr


def test_closed_standard_error_is_no_failure() -> None:
    process = subprocess.run(
        ["sh", "-c", f"exec '{sys.executable}' -m twemproxy -V 2>&-"], stdout=subprocess.PIPE, check=False
    )
    assert (process.returncode, process.stdout) == (0, b"")


def test_version_imports_nothing_heavy() -> None:
    code = "import sys; from twemproxy.cli import main; main(['-V']); print(*sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"yaml", "msgspec", "asyncio", "logging", "socket"} & set(process.stdout.split())
