"""One client connection: frames requests, routes them, and keeps the replies in request order.

Compiled-only.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython.cimports.cpython.ref import PyObject
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.string import memcpy
from cython.cimports.twemproxy.downstream.client_states import (
    ABORTED,
    CLOSING,
    DRAINING,
    LINGERING,
    PAUSED_FOR_DECISION,
)
from cython.cimports.twemproxy.downstream.client_stream import ClientStream
from cython.cimports.twemproxy.downstream.discard import discard, linger, refuse_large, refuse_rest, refuse_unfinished
from cython.cimports.twemproxy.downstream.pieced_request import LOST, WAITING, PiecedRequest, takes_pieces
from cython.cimports.twemproxy.downstream.plan_execution import ask_again, execute, go_on, queue_request
from cython.cimports.twemproxy.downstream.published import publish
from cython.cimports.twemproxy.downstream.reply_queue import ClientRequest
from cython.cimports.twemproxy.downstream.scatter import broadcast, scatter
from cython.cimports.twemproxy.downstream.wrong_protocol import hang_up, is_recognized
from cython.cimports.twemproxy.net.block import COPY_LIMIT, Block, block_bytes
from cython.cimports.twemproxy.protocol.codec import Codec
from cython.cimports.twemproxy.protocol.foreign import HTTP
from cython.cimports.twemproxy.protocol.request import (
    BROADCAST,
    COLOCATED,
    COMPLETE,
    FOREIGN,
    INLINE,
    MALFORMED,
    NEED_MORE,
    NOREPLY,
    REJECT,
    SCATTER,
    SINGLE_SERVER,
    SLOW_PATH,
    TO_ANY,
    TO_CHANNEL,
    TO_KEY,
    Cursor,
    Frame,
    Item,
    Route,
)
from cython.cimports.twemproxy.proxy.access_log import AccessLog, AccessRecord, chooses
from cython.cimports.twemproxy.proxy.hot_keys import is_sampled
from cython.cimports.twemproxy.stats.positions import (
    CLIENT_EOF,
    CLIENT_ERR,
    CLIENT_REQUESTS,
)
from cython.cimports.twemproxy.upstream.pipeline import Pipeline
from cython.cimports.twemproxy.upstream.server import Server
from cython.cimports.twemproxy.upstream.server_connection import ServerConnection

from twemproxy.net.sockets import peer_of
from twemproxy.protocol.plan import MORE, PASS
from twemproxy.proxy.access_line import LONGEST_KEY

# Bytes of a request that are passed to ``Codec.plan`` first: most plans need no more, and a copy of all may be large.
LOOKED_AT = cython.declare(cython.const[cython.Py_ssize_t], 16 * 1024)
# Bytes of a request in which keys are looked for, for the access log.
LONGEST_SEARCHED = cython.declare(cython.const[cython.Py_ssize_t], 64 * 1024)
WARN = cython.declare(cython.const[cython.int], 4)
DROPPED = "out of memory: the request is dropped, '--max-memory' leaves no room for it"
WRITES_ON = (
    "more than {limit} bytes of requests arrived while the client read no replies, and none of them is executed: read"
    " replies earlier, or raise 'client_input_limit' in the configuration of the pool"
)


@cython.final
@cython.cclass
class ClientConnection(ClientStream):
    """The connection of a client, with its requests."""

    # --- requests --------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def receive(self) -> cython.int:
        self.replies.read_at = self.loop.real
        if self.loop.blocks.allocated > self.admission.memory.thrifty_from:
            return self.admission.memory.receive(self)
        return ClientStream.receive(self)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def read_ahead(self) -> cython.int:
        self.used_at = self.loop.now
        self.replies.read_at = self.loop.real
        if self.loop.blocks.allocated > self.admission.memory.thrifty_from:
            self.admission.memory.receive(self)
        else:
            ClientStream.read_ahead(self)
        if self.ahead is not None and self.ahead.pending > self.pool.settings.input_limit:
            if self.loop.verbosity >= WARN:
                self.pool.log.client_writes_on(self.fd, self.ahead.pending, self.pool.settings.input_limit)
            return refuse_rest(self, WRITES_ON.format(limit=self.pool.settings.input_limit))
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def consume(
        self, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        codec: Codec = self.pool.codec
        request: Request = self.pool.request
        cursor: Cursor
        buf: cython.p_uchar = block_bytes(block)
        frame: Frame
        stop: cython.Py_ssize_t
        reasons: cython.uint
        self.needed = 0
        self.used_at = self.loop.now
        if not self.recognized and not is_recognized(self, buf, start, end):
            return end if self.state >= CLOSING else start
        while start < end:
            if self.state >= CLOSING:
                return end
            if self.discard != 0:
                start = discard(self, buf, start, end)
                if self.discard != 0:
                    return start
                continue
            reasons = self.reasons_to_pause()
            if reasons != 0:
                self.pause(reasons)
                return start
            cursor = self.pool.cursor if self.cursor is None else self.cursor
            frame = codec.frame_request(buf, start, end, self.confined, self.reply_flags, cursor, request)
            if frame == NEED_MORE:
                self.needed = cursor.needed
                if (
                    cursor.needed <= self.pool.settings.largest_request
                    or codec.skip_request(buf, start, end, cursor, request) == NEED_MORE
                ):
                    if cursor is self.pool.cursor:
                        self.pool.cursor = Cursor()
                    self.cursor = cursor
                    return start
                self.begin_sampled(cursor.needed)
                refuse_unfinished(self, request, codec.large_refusal(request, self.pool.settings.largest_request))
                self.end_sampled(True)
            self.cursor = None
            stop = start + cursor.length
            if frame == COMPLETE:
                if cursor.length > self.pool.settings.largest_plain:
                    if not self.take_noticed(frame, request, block, start, stop):
                        return start
                elif not self.take_request(request, block, start, stop):
                    return start
            elif frame == INLINE:
                if not self.take_noticed(frame, request, block, start, stop):
                    return start
            elif frame == FOREIGN:
                hang_up(self, HTTP)
                return end
            elif frame == MALFORMED:
                self.begin_sampled(end - start)
                self.break_off(codec.malformation(request))
                self.end_sampled(True)
                return end
            self.requests += 1
            self.pool.process_counters[CLIENT_REQUESTS] += 1
            start = stop
        return end

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_noticed(
        self,
        frame: Frame,
        request: Request,
        block: cython.pointer[Block],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        """As ``take_request``, for a request that is INLINE or larger than ``largest_plain``: it may be too large, or
        in the sample of the access log.
        """
        taken: cython.bint = True
        sampled: cython.bint = self.begin_sampled(end - start)
        try:
            if sampled and frame == COMPLETE:
                self.describe_sampled(request, block, start, end)
            if end - start > self.pool.settings.largest_request:
                refuse_large(self, request)
            elif frame == COMPLETE:
                taken = self.take_request(request, block, start, end)
            else:
                taken = self.rewrite(request, block, start, end)
        finally:
            if sampled:
                self.end_sampled(taken)
        return taken

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def begin_sampled(self, length: cython.Py_ssize_t) -> cython.bint:
        """Note that the next request, of ``length`` bytes, is in the sample of the access log, if it is."""
        access_log: AccessLog = self.pool.access_log
        if self.pool.settings.logged_below == 0 or not chooses(access_log, self.pool.settings.logged_below):
            return False
        if access_log.sink is None or not access_log.sink.begin():
            return False
        if not self.replies.address:
            self.replies.address = peer_of(self.fd) or "a unix socket"
        self.replies.begin_sampled(AccessRecord(self.replies.address, self.id, length))
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def end_sampled(self, taken: cython.bint) -> cython.int:
        """After ``begin_sampled``: the request was taken, or has to wait. An empty line is no request."""
        self.replies.end_sampled()
        return 0 if taken and self.steps is not None else self.replies.drop_sampled()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def describe_sampled(
        self,
        request: Request,
        block: cython.pointer[Block],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Note the command and the keys of the next request, in ``block`` from ``start`` to ``end``, if it is in the
        sample of the access log.
        """
        codec: Codec = self.pool.codec
        item: Item = self.pool.item
        data: cython.p_char = cython.cast(cython.p_char, block_bytes(block) + start)
        record: AccessRecord = self.replies.record_at(self.replies.tail)
        if record is None:
            return 0
        record.command = codec.command_name(request.command)
        if request.route == TO_KEY:
            record.keys = 1
            if request.key_decoded:
                record.key = request.decoded_key()[:LONGEST_KEY]
            else:
                record.key = PyBytes_FromStringAndSize(
                    data + request.key_start, min(request.key_end - request.key_start, LONGEST_KEY)
                )
        elif request.route == SCATTER:
            codec.first_item(block_bytes(block), start, request, item)
            record.keys = request.items
            record.key = PyBytes_FromStringAndSize(
                data + item.key_start, min(item.key_end - item.key_start, LONGEST_KEY)
            )
        elif request.command >= 0:
            record.key, record.keys = codec.logged_keys(
                PyBytes_FromStringAndSize(data, min(end - start, LONGEST_SEARCHED)), request, LONGEST_KEY
            )
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_request(
        self,
        request: Request,
        block: cython.pointer[Block],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        """Process a complete request, in ``block`` from ``start`` to ``end``.

        Returns False if the request has to wait; then nothing was done.
        """
        self.command = request.command
        self.replies.command = cython.cast(cython.short, request.command)
        self.replies.command_class = request.command_class
        if request.profile_needed & ~self.profile:
            return self.take_slow_path(request, block, start, end)
        if self.needs_planning or request.route == SLOW_PATH:
            if (
                self.transaction_server is not None
                and request.route == TO_KEY
                and queue_request(self, request, block, start, end)
            ):
                return True
            return self.take_slow_path(request, block, start, end)
        if not self.route_request(request, block, start, end):
            return False
        if self.skips_reply:
            self.session.replies = 0
            self.sync_session()
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def route_request(
        self,
        request: Request,
        block: cython.pointer[Block],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        """As ``take_request``, for a request that needs no plan."""
        codec: Codec = self.pool.codec
        route: Route = request.route
        full: ServerConnection
        if route == TO_KEY:
            if self.pool.routes.is_open:
                if is_sampled(self.pool.hot_keys):
                    self.sample(request, block_bytes(block) + start, end - start)
                return self.forward(
                    self.pool.routes.server_of_key(block_bytes(block), start, request), request, block, start, end
                )
        elif route == SCATTER:
            if (
                takes_pieces(self.pool, request, self.replies, self.admission.memory.most_values)
                and self.pool.routes.is_open
            ):
                self.pieced = PiecedRequest()
                self.pieced.begin(self.pool, request, self.replies, block, start, end)
                self.loop.want_flush(self)
                return True
            full = scatter(self.pool, request, self.replies, self.id, self.profile, block, start, end, None)
            return full is None or self.wait_for(full)
        elif route == BROADCAST:
            full = broadcast(self.pool, request, self.replies, self.id, self.profile, block, start, end)
            return full is None or self.wait_for(full)
        elif route == COLOCATED and self.pool.routes.n_servers > 1:
            if self.pool.routes.is_open:
                return self.forward_together(request, block, start, end)
        elif route == TO_CHANNEL:
            if self.pool.routes.is_open:
                return publish(self, request, block, start, end)
        elif route == TO_ANY or ((route == SINGLE_SERVER or route == COLOCATED) and self.pool.routes.n_servers == 1):
            if self.pool.routes.is_open:
                return self.forward(self.pool.routes.any_server(), request, block, start, end)
        else:
            if route == REJECT:
                self.discard = request.discard
                self.answer_here(request, codec.refusal(request))
            else:
                self.answer_here(request, codec.only_refusal(request, self.pool.routes.n_servers))
            return True
        self.replies.fail(self.replies.reserve(), b"" if request.expected & NOREPLY else self.pool.refused)
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def sample(
        self, request: Request, data: cython.pointer[cython.const[cython.uchar]], length: cython.Py_ssize_t
    ) -> cython.int:
        """Count the key of a request, in ``data``, for the hot keys of the pool."""
        key: cython.pointer[cython.const[cython.uchar]] = data + request.key_start
        size: cython.Py_ssize_t = request.key_end - request.key_start
        if request.key_decoded:
            key = cython.address(request.decoded[0])
            size = request.key_end
        self.replies.hot_place = cython.cast(cython.uchar, self.pool.hot_keys.note(key, size, length, self.loop.real))
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def forward_together(
        self,
        request: Request,
        block: cython.pointer[Block],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        """As ``forward``, to the server that has all keys of the request; replies with an error if there is none."""
        codec: Codec = self.pool.codec
        item: Item = self.pool.item
        server: Server
        if codec.begin_keys(request, item):
            server = self.pool.routes.server_of_found(codec, block_bytes(block), start, request, item)
        else:
            try:
                keys = codec.keys(
                    PyBytes_FromStringAndSize(cython.cast(cython.p_char, block_bytes(block) + start), end - start),
                    request,
                    self.pool.routes.n_servers,
                )
            except ValueError as reason:
                self.answer_here(request, codec.keys_refusal(str(reason)))
                return True
            server = self.pool.routes.server_of_all(keys)
        if server is None:
            self.answer_here(request, codec.keys_refusal())
            return True
        return self.forward(server, request, block, start, end)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def rewrite(
        self,
        request: Request,
        block: cython.pointer[Block],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Process a request that must be rewritten first; returns 0 if the request has to wait."""
        codec: Codec = self.pool.codec
        taken: cython.bint = True
        frame: Frame
        copy: cython.pointer[Block]
        data: bytes
        of_channel: int64_t
        of_turn: int64_t
        spent: int64_t
        if not self.loop.may_work(self):
            self.pause(PAUSED_FOR_DECISION)
            self.loop.put_off(self)
            return 0
        of_channel, of_turn = self.loop.channel_work, self.loop.turn_work
        try:
            data = codec.rewrite(
                PyBytes_FromStringAndSize(cython.cast(cython.p_char, block_bytes(block) + start), end - start)
            )
        except ValueError as problem:
            self.break_off(codec.error(str(problem)))
            return 1
        finally:
            self.loop.worked()
        # Processing the rewritten request is part of the same piece of work, which may continue.
        spent = self.loop.channel_work - of_channel
        self.loop.channel_work, self.loop.turn_work = of_channel, of_turn
        if data:
            copy = self.loop.blocks.take(PyBytes_GET_SIZE(data))
            memcpy(block_bytes(copy), PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            # Not confined: the length of the line itself has been checked.
            frame = codec.frame_request(
                block_bytes(copy), 0, PyBytes_GET_SIZE(data), False, self.reply_flags, Cursor(), request
            )
            if frame == COMPLETE:
                self.describe_sampled(request, copy, 0, PyBytes_GET_SIZE(data))
                taken = self.take_request(request, copy, 0, PyBytes_GET_SIZE(data))
            self.loop.blocks.release(copy)
        self.loop.channel_work += spent
        self.loop.turn_work += spent
        return taken

    # --- planned requests ------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_slow_path(
        self,
        request: Request,
        block: cython.pointer[Block],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        """As ``take_request``, by the plan that the codec makes."""
        taken: cython.bint
        codec: Codec = self.pool.codec
        size: cython.Py_ssize_t = min(end - start, LOOKED_AT)
        data: cython.p_char = cython.cast(cython.p_char, block_bytes(block) + start)
        session = self.begin_session()
        if not self.loop.may_work(self):
            self.pause(PAUSED_FOR_DECISION)
            self.loop.put_off(self)
            return False
        try:
            plan = codec.plan(PyBytes_FromStringAndSize(data, size), request, session, size == end - start)
            if plan is MORE:
                plan = codec.plan(PyBytes_FromStringAndSize(data, end - start), request, session, True)
        finally:
            self.loop.worked()
        if plan is None:
            self.pause(PAUSED_FOR_DECISION)
            return False
        # The plan may have changed the session's profile.
        self.sync_profile()
        if plan is PASS:
            taken = self.route_request(request, block, start, end)
        else:
            taken = execute(self, plan, request, request.expected, block, start, end)
        if taken and self.steps is None:
            self.update_session()
        # The plan may have opened a private connection.
        self.loop.worked()
        return taken

    # --- the end ---------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_flushed(self, sent: cython.Py_ssize_t) -> cython.int:
        progress: cython.int
        self.replies.note_written()
        if self.state == ABORTED:
            return 0
        if sent > 0:
            self.used_at = self.loop.now
            if self.out.pending > 0 and self.timer is not None:
                # From here on: what was just sent may be more than what the socket held before.
                self.transport.has_taken()
        if self.out.pending > self.pool.settings.output_limit and self.exceeds_output_limit():
            return self.abort("it does not read its replies or messages")
        if self.releasing and self.replies.head == self.replies.tail:
            self.release_connections()
        elif self.blocked is not None and self.blocked.is_misplaced:
            ask_again(self)
        if self.steps is not None and not go_on(self):
            return self.reconsider_reading() if self.pauses != 0 and self.state < CLOSING else 0
        if self.notice is not None:
            self.notify(self.notice)
        if self.pieced is not None and not self.awaits_memory():
            progress = self.pieced.advance(self, self.id, self.profile, self.admission.memory.most_values)
            if progress == LOST:
                return self.close(CLIENT_ERR, "a server failed when a part of the reply was sent")
            if progress == WAITING:
                return self.reconsider_reading() if self.pauses != 0 and self.state < CLOSING else 0
            self.out.take_over(self.pieced.messages)
            self.pieced = None
        if self.pauses != 0 and self.state < CLOSING:
            self.resume(self.reasons_over())
            if self.handover is not None:
                self.handover.look_at(self)
            if self.pauses != 0:
                return self.reconsider_reading()
        if self.handover is not None:
            self.handover.look_at(self)
        if self.state == DRAINING and self.pauses == 0:
            self.become(CLOSING)
        if self.ended or self.state == CLOSING or self.state == LINGERING:
            return self.close_if_done()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_end(self) -> cython.int:
        self.update_interest()
        return self.close_if_done()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_shut(self) -> cython.int:
        return self.close_if_done()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def close_if_done(self) -> cython.int:
        """Close after the last reply is sent."""
        if self.pauses != 0 and self.state < CLOSING:
            # Requests that were read are still to be processed.
            return 0
        if self.replies.head == self.replies.tail and self.out.pending == 0 and self.steps is None and self.fd >= 0:
            if self.has_unsent():
                return 0
            if self.lingers and not self.ended:
                return linger(self)
            if self.state >= CLOSING and not self.ended and not self.shut_write():
                return 0
            if self.broken_off:
                return self.close(CLIENT_ERR, "it broke the protocol")
            return self.close(CLIENT_EOF, "it ended the connection" if self.ended else "the last reply is sent")
        return 0

    # --- for the control plane -------------------------------------------------------------------------------

    def standing(self) -> tuple:
        """(its state, the reasons in ``pauses``, the name of the server whose full send queue it waits for or None)."""
        full = None if self.blocked_on is None else self.blocked_on.server.name
        return self.state, self.pauses, full

    def shared_connection(self, server: Server):
        """The connection to a server for its requests that it shares with other clients, None if there is none yet."""
        connections = server.connections if self.profile == 0 else server.of_profiles.get(self.profile)
        return connections[self.id % len(connections)] if connections else None

    def requests_at(self, connection: ServerConnection) -> tuple:
        """The requests on a server connection: (how many are not sent yet, their bytes, how many are sent and have no
        reply, how many of all of them are this client's).
        """
        pipeline: Pipeline = connection.requests
        place: cython.uint = pipeline.head
        own: cython.uint = 0
        handler: cython.pointer[PyObject]
        while place != pipeline.tail:
            handler = pipeline.requests[place & (pipeline.capacity - 1)].handler
            if handler != cython.NULL and self.owns(cython.cast(object, handler)):
                own += 1
            place += 1
        return pipeline.n_unsent(), connection.out.pending, pipeline.written - pipeline.head, own

    def owns(self, handler) -> bool:
        """Whether the reply to a request with this handler is for this client."""
        return handler is self.replies or (
            isinstance(handler, ClientRequest) and cython.cast(ClientRequest, handler).replies is self.replies
        )

    # --- memory ----------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def is_modest(self) -> cython.bint:
        if self.discard != 0 or self.state >= CLOSING:
            return True
        return (
            self.tail_end - self.tail_start <= COPY_LIMIT
            and self.needed <= COPY_LIMIT
            and self.replies.typical <= COPY_LIMIT
            and self.out.pending + self.replies.kept <= COPY_LIMIT
        )

    @cython.cfunc
    @cython.exceptval(check=False)
    def held(self) -> cython.Py_ssize_t:
        held: cython.Py_ssize_t = (
            self.tail_end - self.tail_start + self.out.pending + self.replies.kept + self.steps_hold
        )
        if self.parts is not None:
            held += self.parts.pending
        if self.ahead is not None:
            held += self.ahead.pending
        if self.pieced is not None:
            held += self.pieced.values.pending
        if self.blocked is not None:
            held += self.blocked.size
        return held

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def shed(self, held: cython.Py_ssize_t) -> cython.int:
        """Drop the input that was read ahead or the incomplete request if they are most of it; otherwise close."""
        if self.loop.verbosity >= WARN:
            self.pool.log.client_holds_most(self.fd, held, self.admission.memory.program_limit)
        if self.ahead is not None and 2 * self.ahead.pending > held:
            return refuse_rest(self, DROPPED)
        if 2 * (self.tail_end - self.tail_start) > held and self.drop_request():
            return 0
        return self.close(CLIENT_ERR, "memory is far above '--max-memory', and this client uses the most of it")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def drop_request(self) -> cython.bint:
        """Refuse and drop the incomplete request; returns False if the codec cannot skip it."""
        codec: Codec = self.pool.codec
        buf: cython.p_uchar = block_bytes(self.tail)
        request: Request = Request()
        cursor: Cursor = Cursor()
        frame: Frame = codec.frame_request(
            buf, self.tail_start, self.tail_end, self.confined, self.reply_flags, cursor, request
        )
        if frame != NEED_MORE or codec.skip_request(buf, self.tail_start, self.tail_end, cursor, request) != COMPLETE:
            return False
        refuse_unfinished(self, request, codec.error(DROPPED))
        self.drop_tail()
        return True
