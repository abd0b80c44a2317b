"""The limit on open files, and the descriptors that a service manager passes.

This module imports little: the first worker starts before the supervisor is loaded.
"""

import os
import resource
from collections.abc import Mapping
from typing import Final

_FIRST_PASSED: Final = 3


def raise_limit() -> int:
    """Raise the soft limit on open files (RLIMIT_NOFILE) to the hard limit; returns the soft limit, 0 for no limit.

    Processes that are started later inherit the limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):  # the kernel's limit (fs.nr_open) is now below the hard limit
            pass
    return 0 if soft == resource.RLIM_INFINITY else soft


def passed_descriptors(environment: Mapping[str, str] = os.environ) -> range:
    """The descriptors of the sockets that a service manager has passed to this process, see sd_listen_fds(3)."""
    try:
        count = int(environment.get("LISTEN_FDS", "0"))
    except ValueError:
        count = 0
    return range(_FIRST_PASSED, _FIRST_PASSED + count if environment.get("LISTEN_PID") == str(os.getpid()) else 0)
