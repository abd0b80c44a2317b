"""The fork server: a process that has loaded all that a worker needs, serves nobody, and forks workers.

A forked worker shares the memory of what was loaded, and starts faster than a new program. See
``supervisor.fork_server`` for the other end.

A worker has to be a child of the supervisor. So the fork server forks a process that forks the worker and ends, and the
supervisor adopts the orphan (PR_SET_CHILD_SUBREAPER). The other way, clone(2) with CLONE_PARENT, passes by the C
library's fork, which keeps the identity of the thread and its locks right in the child.
"""

import gc
import os
import socket
import sys
from typing import Final, NoReturn

from twemproxy.ipc import descriptors
from twemproxy.ipc.forking import MESSAGE_SIZE, TO_FORK_SERVER, Forked, ForkWorker, NotForked, Waiting, encode
from twemproxy.process import set_name, set_title
from twemproxy.protocol.memcache.codec import MemcacheCodec
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.worker import main as worker

_WAITING: Final = encode(Waiting())


def main() -> NoReturn:
    """Fork workers as the supervisor asks, until it closes the socket that is the standard input."""
    worker.ignore_signals()
    requests = socket.socket(fileno=worker.STANDARD_INPUT)
    # The tables that codecs share are made at the first use.
    for codec in (RedisCodec, MemcacheCodec):
        codec()
    # No worker's garbage collector writes to the memory of the objects that exist now.
    gc.collect()
    gc.freeze()
    try:
        while True:
            requests.send(_WAITING)
            data, received = descriptors.receive(requests, MESSAGE_SIZE)
            if not data:
                break
            _fork(requests, TO_FORK_SERVER.decode(data), received)
            for each in received:
                os.close(each)
    except (BrokenPipeError, ConnectionResetError):
        pass
    # The end of an interpreter writes to all memory, which the workers share.
    os._exit(0)


def _fork(requests: socket.socket, request: ForkWorker, received: list[int]) -> None:
    """Fork a worker, and answer. ``received``: its control socket. Returns when it is no descendant of this process."""
    try:
        between = os.fork()
    except OSError as error:
        requests.send(encode(NotForked(os.strerror(error.errno or 0))))
        return
    if between:
        os.waitpid(between, 0)
        return
    try:
        child = os.fork()
        if child == 0:
            _become_worker(requests, request, received)
        requests.send(encode(Forked(child, os.getpid())))
    except OSError as error:
        requests.send(encode(NotForked(os.strerror(error.errno or 0))))
    finally:
        os._exit(0)


def _become_worker(requests: socket.socket, request: ForkWorker, received: list[int]) -> NoReturn:
    """Run the worker in this process."""
    status = 1
    try:
        requests.detach()
        [control] = received
        os.dup2(control, worker.STANDARD_INPUT)
        os.close(control)
        set_title(request.title)
        if request.name:
            set_name(request.name)
        status = worker.main()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        # See the end of ``main``.
        os._exit(status)


if __name__ == "__main__":
    main()
