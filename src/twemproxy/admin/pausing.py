"""New connections to a port of the supervisor wait in the backlog while another version takes the process over."""

import asyncio
from typing import Final

PAUSE_INTERVAL: Final = 0.01
"""Seconds between two looks whether all connections have answers."""


async def let_wait(server: asyncio.Server) -> None:
    """Let new connections to a server wait; returns when those that it has accepted are announced.

    asyncio accepts a connection in one turn and announces it in a later one. When the server is closed in between, the
    connection is lost.
    """
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        loop.remove_reader(listening.fileno())
    await asyncio.sleep(PAUSE_INTERVAL)
