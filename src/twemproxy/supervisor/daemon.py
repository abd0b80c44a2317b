"""Going into the background (option -d)."""

import os
import signal


def daemonize() -> None:
    """Go on in a new session without a terminal; the calling process exits 0 and only its grandchild returns.

    The working directory stays. Standard input, output and error become /dev/null. Files made from now on
    are never writable for others than their owner, unless their mode is set explicitly.

    Call it before there are threads or an event loop.
    """
    _leave_parent()
    os.setsid()
    # The session's leader ends next, and then the kernel sends SIGHUP to its group.
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Not being the leader any more, the process cannot get a terminal by opening one.
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
