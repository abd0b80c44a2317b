"""The options of the command line: checked, and completed with defaults."""

from typing import Final

import msgspec

AUTO: Final = "auto"
"""As many workers as the system gives processors."""
MOST_WORKERS: Final = 256
LOG_FORMATS: Final = ("text", "json")
"""The formats of the lines of the log; the first one is the default."""


def worker_count(text: str) -> int | None:
    """The number of workers of an argument: 1 to MOST_WORKERS, 0 for AUTO; None if it is invalid."""
    if text == AUTO:
        return 0
    return int(text) if text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_WORKERS else None


class Options(msgspec.Struct, frozen=True):
    """The options of a normal run. Paths are as given; a relative path is relative to the working directory."""

    conf_file: str
    log_path: str = ""
    """Empty: standard error."""
    log_level: int = 5
    """0 to 11, a level of ``twemproxy.log``."""
    stats_addr: str = "0.0.0.0"
    """Host name, numeric address, or absolute path of a unix socket."""
    stats_port: int = 22222
    stats_interval: int = 30000
    """Milliseconds."""
    pid_file: str = ""
    """Empty: no pid file."""
    control_socket: str = ""
    """Path of the unix socket for sub-commands; empty: none."""
    mbuf_size: int = 16384
    """Bytes, 512 to 16777216."""
    daemonize: bool = False
    drain_time: int = 10
    """Longest time in seconds from the end of ``drain_delay`` to the exit; 0: exit at once."""
    drain_delay: int = 0
    """Seconds after SIGTERM or SIGINT for which the proxy goes on as before, but is not ready."""
    watch: bool = False
    """Whether a changed configuration file is served without being told."""
    metrics_compat: str = ""
    """``twemproxy``: there are also metrics with the names that exporters for nutcracker use; empty: none."""
    workers: int = 1
    """How many workers serve the clients, 1 to MOST_WORKERS; 0: as many as the system gives processors."""
    max_memory: int = 0
    """Bytes that all workers together hold for traffic before large requests wait; 0: no limit."""
    access_log: str = ""
    """Path of the file of the access log; empty: standard output."""
    log_format: str = LOG_FORMATS[0]
    """One of LOG_FORMATS."""
