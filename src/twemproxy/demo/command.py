"""The command line of the demonstration, and the sequence of its steps."""

import argparse
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from twemproxy import __version__
from twemproxy.demo.processes import StartError
from twemproxy.demo.servers import command_line, find_server_program
from twemproxy.demo.services import Service, Services, free_port
from twemproxy.demo.signals import Stopped, StopSignals

SERVERS: Final = ("apple", "berry", "cherry")
POOL: Final = "fruit"

PROXY_PORT: Final = 22121
STATS_PORT: Final = 22222
FIRST_SERVER_PORT: Final = 22131
"""Preferred ports of the proxy, of its statistics and of the first server. The other servers have the next ports."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the demonstration; returns the exit status: 0, or 1 after a failure."""
    parser = argparse.ArgumentParser(
        prog="python -m twemproxy.demo",
        description="Start three servers and nutcracker in front of them, show what it does, and keep it running.",
    )
    parser.add_argument("--once", action="store_true", help="end after the workload")
    options = parser.parse_args(words)
    signals = StopSignals()
    try:
        perform(signals, keep_running=not options.once)
    except Stopped:
        print("\nStopped; nothing is left behind.")
    except StartError as error:
        print(f"twemproxy.demo: {error}", file=sys.stderr)
        return 1
    return 0


def perform(signals: StopSignals, *, keep_running: bool) -> None:
    """Start the processes and run the workload; with ``keep_running``, then wait for a signal.

    Raises StartError, and Stopped after a signal.
    """
    try:
        import redis

        from twemproxy.demo.workload import Scene, WorkloadError, run
    except ModuleNotFoundError as error:
        raise StartError(
            f"{error}; install the packages of the demonstration with pip install 'twemproxy[demo]'"
        ) from error
    with Services(signals) as services:
        program = find_server_program()
        say(f"twemproxy {__version__}: {len(SERVERS)} servers ({program.description}) and a proxy\n")
        servers = []
        for number, name in enumerate(SERVERS):
            server = services.start(
                name, FIRST_SERVER_PORT + number, lambda port: command_line(program, port, services.directory)
            )
            say(f"  {name:<10}  127.0.0.1:{server.port}")
            servers.append(server)
        stats_port = 0
        config = services.directory / "nutcracker.yml"

        def nutcracker(port: int) -> list[str]:
            nonlocal stats_port
            stats_port = free_port(STATS_PORT if port == PROXY_PORT else 0)
            config.write_text(configuration(port, servers))
            options = ["-c", str(config), "-a", "127.0.0.1", "-s", str(stats_port)]
            return [*proxy_command(), *options]

        proxy = services.start("nutcracker", PROXY_PORT, nutcracker)
        say(f"  nutcracker  127.0.0.1:{proxy.port}, statistics on port {stats_port}, configured by {config}:\n")
        say("".join(f"      {line}\n" for line in config.read_text().splitlines()))
        try:
            run(Scene(POOL, proxy, stats_port, servers), signals.check)
        except (WorkloadError, redis.RedisError, OSError) as error:
            log = (services.directory / "nutcracker.log").read_text(errors="replace")
            raise StartError(f"the work failed: {error}\nThe proxy's log:\n{log}") from error
        if keep_running:
            say(advice(proxy, stats_port, servers))
            services.wait_for_an_end()
    say("Stopped; nothing is left behind.")


def proxy_command() -> list[str]:
    """Return the command of the proxy: the installed program, or a Python if this package runs from its sources."""
    if Path(__file__).is_relative_to(sysconfig.get_path("platlib")):
        return [str(Path(sysconfig.get_path("scripts"), "nutcracker"))]
    return [sys.executable, "-P", "-m", "twemproxy"]


def configuration(port: int, servers: Sequence[Service]) -> str:
    """Return the text of the proxy's configuration file. ``port``: the port on which the proxy listens."""
    entries = "".join(f"    - 127.0.0.1:{server.port}:1 {server.name}\n" for server in servers)
    return (
        f"{POOL}:\n  listen: 127.0.0.1:{port}\n  redis: true\n  hash: murmur\n  distribution: ketama\n  timeout: 2000\n"
        f"  servers:\n{entries}"
    )


def advice(proxy: Service, stats_port: int, servers: Sequence[Service]) -> str:
    """Return suggestions for the user to try while the processes run."""
    client = f"redis.Redis(port={proxy.port})"
    document = f"socket.create_connection(('127.0.0.1', {stats_port})).makefile().read()"
    return (
        "All of it keeps running. Try, in another terminal:\n\n"
        f"  redis-cli -p {proxy.port} set greeting hello\n"
        f"  redis-cli -p {proxy.port} mget greeting user:1 user:2\n"
        f"  redis-cli -p {servers[0].port} dbsize      # {servers[0].name}, past the proxy\n"
        f"  {sys.executable} -c \"import redis; print({client}.get('user:1'))\"\n"
        f'  python3 -c "import socket; print({document})"\n\n'
        "Ctrl-C stops everything."
    )


def say(text: str) -> None:
    """Print a line and flush it, because output into a pipe is buffered."""
    print(text, flush=True)
