"""The exceptions of the supervisor for a proxy that cannot start, and how errors are told."""

import asyncio
import sys
from typing import Any

from twemproxy import log

_logger = log.get_logger(__name__)


class StartError(Exception):
    """The proxy cannot start. The text is the reason, in one line for the operator."""


def tell(line: str) -> None:
    """Write a line to standard error."""
    if sys.stderr is not None:  # None if the descriptor was closed; print would then use standard output
        print(line, file=sys.stderr, flush=True)


def log_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an exception that nobody has caught in the event loop."""
    _logger.error("%(reason)s", {"reason": context["message"]}, exc_info=context.get("exception"))
