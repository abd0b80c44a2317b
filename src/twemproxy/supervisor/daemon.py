"""Running in the background (option -d)."""

import os
import signal


def daemonize() -> None:
    """Continue in a new session without a terminal.

    The calling process exits with status 0, and only its grandchild returns. The working directory does not change.
    Standard input, output and error become /dev/null. New files are writable for their owner only, unless their mode
    is set explicitly.

    Call this function before there are threads or an event loop.
    """
    _leave_parent()
    os.setsid()
    # The session leader exits next, and then the kernel sends SIGHUP to its process group.
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # A process that is not the session leader does not get a controlling terminal by opening one.
    _leave_parent()
    signal.signal(signal.SIGHUP, previous)
    os.umask(os.umask(0o022) | 0o022)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    if null > 2:
        os.close(null)


def _leave_parent() -> None:
    if os.fork() > 0:
        os._exit(0)
