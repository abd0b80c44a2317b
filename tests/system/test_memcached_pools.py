"""Memcached pools, which this version does not serve: a start says so in one line and leaves nothing behind."""

from pathlib import Path

from harness.ports import free_port
from harness.proxy import run


def test_start_names_the_pool_that_is_not_served(tmp_path: Path) -> None:
    config = tmp_path / "nutcracker.yml"
    config.write_text(f"old:\n  listen: 127.0.0.1:{free_port()}\n  servers:\n   - 127.0.0.1:11211:1\n")
    pid_file = tmp_path / "pid"
    ended = run("-c", str(config), "-a", "127.0.0.1", "-s", str(free_port()), "-p", str(pid_file))
    assert ended.returncode == 1
    assert ended.stderr.count("nutcracker: pool old: memcached pools are not served by this version") == 1
    assert "Traceback" not in ended.stderr
    assert not pid_file.exists()
