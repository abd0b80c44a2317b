"""What the command line settles for a run: checked, with defaults filled in."""

import msgspec


class Options(msgspec.Struct, frozen=True):
    """The options of a normal run. Paths are as given, relative ones to the working directory."""

    conf_file: str
    log_path: str = ""
    """Empty for standard error."""
    log_level: int = 5
    """0 to 11, as ``twemproxy.log`` names them."""
    stats_addr: str = "0.0.0.0"
    """Host name, numeric address, or the absolute path of a unix socket."""
    stats_port: int = 22222
    stats_interval: int = 30000
    """Milliseconds."""
    pid_file: str = ""
    """Empty for none."""
    mbuf_size: int = 16384
    """Bytes, 512 to 16777216."""
    daemonize: bool = False
    drain_time: int = 5
    """Seconds from SIGTERM or SIGINT to the end, at most; 0 for an end at once."""
    max_memory: int = 0
    """Bytes that all workers together hold for traffic before large requests wait, 0 for no limit."""
