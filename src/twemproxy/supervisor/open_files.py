"""The limit on open files. This module imports little: the first worker starts before the supervisor is loaded."""

import resource


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
