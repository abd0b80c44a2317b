"""A worker that executes the commands of its clients, for tests of the supervisor.

``python scripted_worker.py MODE``; its standard input is the control socket. MODE is ``serve``, or ``exit`` to end
before serving.

Clients send lines; each is a command of ``_Worker.obey`` and gets a reply of one line.
"""

import asyncio
import mmap
import os
import resource
import signal
import socket
import sys
from contextlib import suppress

from twemproxy import log
from twemproxy.ipc.messages import (
    TO_WORKER,
    Commit,
    Committed,
    Drain,
    HandingOver,
    HandOver,
    MessageStream,
    Prepare,
    Prepared,
    Quiesce,
    Quiesced,
    Ready,
    ReopenLog,
    Resolve,
    Resolved,
    SetLogLevel,
    Start,
    encode,
)
from twemproxy.stats.catalogue import SERVER_METRICS


class _Worker:
    def __init__(self, control: socket.socket) -> None:
        self.stream = MessageStream(TO_WORKER)
        self.early: list[object] = []
        self.descriptors: list[int] = []
        while not self.early:
            data, some, _, _ = socket.recv_fds(control, 65536, 250)
            assert data, "the supervisor is gone before it said anything"
            self.descriptors += some
            self.early += self.stream.feed(data)
        start = self.early.pop(0)
        assert isinstance(start, Start)
        self.start = start
        self.table = memoryview(mmap.mmap(self.descriptors[0], 0)).cast("Q")
        self.drained: asyncio.Future[float]
        self.answers: asyncio.Queue[Resolved] = asyncio.Queue()
        self.clients: list[asyncio.Task[None] | None] = []
        self.obstinate = False
        self.unsettled = False
        self.patience = 0.0
        self.is_late = False
        self.late: list[Prepare] = []
        log.configure(start.log)

    async def run(self, control: socket.socket) -> None:
        self.drained = asyncio.get_running_loop().create_future()
        reader, self.control = await asyncio.open_unix_connection(sock=control)
        servers = [
            await asyncio.start_server(self.client, sock=socket.socket(fileno=descriptor))
            for descriptor in self.descriptors[4:]
        ]
        # A process that is to replace another one is ready when it is told to log everything.
        if self.start.accepts:
            self.control.write(encode(Ready()))
        for message in self.early:
            self.hear(message)
        leaving: asyncio.Task[None] | None = None
        while data := await reader.read(65536):
            for heard in self.stream.feed(data):
                self.hear(heard)
            if self.drained.done():
                for server in servers:
                    server.close()
                leaving = leaving or asyncio.create_task(self.leave())
        if self.obstinate:
            await asyncio.Future()
        os._exit(1)

    async def leave(self) -> None:
        """End when all clients are served."""
        await asyncio.gather(*(client for client in self.clients if client))
        if not self.obstinate:
            os._exit(0)

    def hear(self, message: object) -> None:
        match message:
            case Drain():
                if not self.drained.done():
                    self.drained.set_result(message.timeout)
                elif message.timeout == 0 and not self.obstinate:
                    os._exit(0)
            case Quiesce():
                self.patience = message.patience
                if not self.unsettled:
                    self.control.write(encode(Quiesced()))
            case SetLogLevel():
                log.set_level(message.level)
                if message.level == 11 and not self.start.accepts:
                    self.control.write(encode(Ready()))
            case Prepare():
                if self.is_late and not self.late:
                    self.late.append(message)
                    return
                for late in self.late:
                    self.control.write(encode(Prepared(late.number, "this answer is late")))
                self.control.write(encode(Prepared(message.number)))
            case Commit():
                self.control.write(encode(Committed()))
            case HandOver():
                self.control.write(encode(HandingOver(0)))
            case ReopenLog():
                with suppress(log.LogError):
                    log.reopen()
            case Resolved():
                self.answers.put_nowait(message)

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.append(asyncio.current_task())
        while line := await reader.readline():
            writer.write((await self.obey(line.decode().split()) + "\n").encode())
            if self.drained.done():
                break
        writer.close()
        await writer.wait_closed()

    async def obey(self, words: list[str]) -> str:
        """Execute a command, which is a name with arguments; returns the reply."""
        match words:
            case ["pid"]:
                return str(os.getpid())
            case ["exit", status]:
                os._exit(int(status))
            case ["kill", number]:
                os.kill(os.getpid(), int(number))
            case ["close-control"]:
                self.obstinate = True
                self.control.transport.abort()
            case ["garbage"]:
                self.control.write(b"\0\0\0\1\xc1")
            case ["level"]:
                return str(log.current_level())
            case ["log", text]:
                log.get_logger("scripted").error("%s", text)
            case ["limit"]:
                return str(self.start.client_limit)
            case ["files"]:
                return str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            case ["mbuf"]:
                return str(self.start.mbuf_size)
            case ["memory"]:
                return str(self.start.max_memory)
            case ["descriptors"]:
                return str(len(self.descriptors))
            case ["pools"]:
                return str(len(self.start.config.pools))
            case ["blocked"]:
                return " ".join(sorted(str(int(sign)) for sign in signal.pthread_sigmask(signal.SIG_BLOCK, ())))
            case ["add", metric, amount]:
                offset = [row.name for row in SERVER_METRICS].index(metric)
                self.table[self.start.slots[0].servers[0] + offset] += int(amount)
            case ["resolve", host, port]:
                self.control.write(encode(Resolve(host, int(port))))
                answer = await self.answers.get()
                return f"{answer.addresses} {answer.error}"
            case ["finish-when-drained"]:
                return f"finished, {await self.drained:g} s to go"
            case ["never-finish"]:
                await asyncio.Future()
            case ["never-quiesce"]:
                self.unsettled = True
            case ["prepare-late"]:
                self.is_late = True
            case ["quiesce"]:
                self.control.write(encode(Quiesced()))
            case ["patience"]:
                return f"{self.patience:g}"
            case ["never-leave"]:
                self.obstinate = True
            case _:
                return "what?"
        return "ok"


def main(mode: str) -> int:
    if mode == "exit":
        return 3
    control = socket.socket(fileno=0)
    asyncio.run(_Worker(control).run(control))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
