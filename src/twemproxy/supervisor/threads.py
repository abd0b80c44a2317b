"""Calls that block, outside the thread of the event loop."""

import asyncio
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Return ``function(*arguments)``, or raise its exception, without blocking the event loop.

    The thread is a daemon thread: a call that does not return cannot delay the exit of the process.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]

    def call() -> None:
        # The main thread gets them all, or has blocked them.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        result, error = None, None
        try:
            result = function(*arguments)
        except Exception as problem:
            error = problem
        with suppress(RuntimeError):  # the loop is closed, so no caller waits for the result
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=call, daemon=True).start()
    return await answer
