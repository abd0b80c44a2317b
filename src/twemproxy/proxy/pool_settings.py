"""The settings of a pool, as its parts read them where they use them.

Compiled-only. A snapshot is made from the configuration and never changes. The parts of a pool keep no copies of its
values, so that a new snapshot, set between two events, changes all of them.
"""

import sys

import cython
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.twemproxy.net.timers import NEVER
from cython.cimports.twemproxy.proxy.access_log import AccessLog
from cython.cimports.twemproxy.proxy.hot_keys import HotKeys

from twemproxy.proxy.slow_log import SlowLog

# In microseconds: the configuration has milliseconds, all else microseconds.
MILLISECOND = 1000
# Bytes of unread messages that a client may have if the configuration sets no limit.
MESSAGES_HIGH = 32 * 1024 * 1024
# The number of values of a random number, see ``access_log.chooses``.
RANDOM_VALUES = 1 << 53


@cython.final
@cython.cclass
class PoolSettings:
    """A snapshot of the settings of one pool, as numbers for compiled code. ``config``: all of them, a PoolConfig.

    Times are in microseconds of the event loop's clock, 0 for none: ``timeout``, ``open_timeout`` (from opening a
    server connection to the end of its handshake), ``idle_limit`` (of clients), ``retry_timeout`` (between the probes
    of an ejected server), ``check_interval`` (between the health checks of a live one), ``dns_refresh``; those of
    ``config`` are in milliseconds. ``slow_after``: the time from which on a request is slow, a very large one for none.
    Sizes are in bytes, a very large number for no limit: ``largest_request``; ``largest_plain``, above which a request
    is too large or may be in the sample of the access log, -1 if each one may be; ``input_limit``, for requests that a
    client sends while it does not read replies; ``reply_limit`` and ``message_limit``, for unread output of clients
    without and with subscriptions, and ``output_limit``, the smaller of the two.

    ``most_connections``: ``max_backend_connections``, to each server, of all workers together, 0 for no limit.

    ``logged_below``: the random numbers below it choose a request for the access log, 0 for none.

    ``keeps_keys``: an ejected server keeps its keys. ``tolerates_missing``: in merged reads, keys of servers that fail
    count as missing. ``requires_auth``: clients must authenticate first. ``keepalive``: a ``net.sockets.KeepAlive``,
    None without keepalive. The other names are those of directives.
    """

    def __init__(self, config) -> None:
        """``config``: a PoolConfig."""
        self.config = config
        self.timeout = MILLISECOND * config.timeout
        self.open_timeout = MILLISECOND * (config.connect_timeout or config.timeout)
        self.idle_limit = MILLISECOND * config.client_idle_timeout
        self.retry_timeout = MILLISECOND * config.server_retry_timeout
        self.check_interval = MILLISECOND * config.health_check_interval
        self.dns_refresh = MILLISECOND * config.dns_refresh
        self.slow_after = MILLISECOND * config.slowlog_ms or NEVER
        self.retry_reads = config.retry_reads
        self.max_pipeline = config.max_pipeline
        self.largest_request = config.max_request_bytes or sys.maxsize
        self.logged_below = cython.cast(uint64_t, round(config.access_log_sample * RANDOM_VALUES))
        self.largest_plain = -1 if self.logged_below > 0 else self.largest_request
        self.input_limit = config.client_input_limit or sys.maxsize
        self.reply_limit = config.client_output_limit or sys.maxsize
        self.message_limit = config.client_output_limit or MESSAGES_HIGH
        self.output_limit = min(self.reply_limit, self.message_limit)
        self.most_connections = config.max_backend_connections
        self.server_connections = config.server_connections
        self.requires_auth = bool(config.redis_auth)
        self.tolerates_missing = config.partial_reads == "miss"
        self.auto_eject_hosts = config.auto_eject_hosts
        # 0 works as 1.
        self.server_failure_limit = max(config.server_failure_limit, 1)
        self.keeps_keys = config.on_server_down != "rehash"
        self.keepalive = None
        if config.tcpkeepalive:
            self.keepalive = (config.tcpkeepalive_idle, config.tcpkeepalive_interval, config.tcpkeepalive_count)


@cython.cclass
class ConfiguredPool:
    """A pool, as far as its parts read its settings. ``settings``: the present snapshot.

    ``access_log``: an AccessLog. ``slow_log``: a ``proxy.slow_log.SlowLog``; ``slow_unwritten``: its ``unwritten``.
    ``hot_keys``: its keys with the most requests.

    ``client_transport``, ``server_transport``: called with the plain transport of each connection to a client or a
    server; each returns the transport that the connection gets. None for the plain ones.
    """

    def __init__(self, config) -> None:
        """``config``: a PoolConfig."""
        self.settings = PoolSettings(config)
        self.access_log = AccessLog()
        self.slow_log = SlowLog()
        self.slow_unwritten = self.slow_log.unwritten
        self.hot_keys = HotKeys()

    @property
    def config(self):
        """The PoolConfig of the present snapshot."""
        return self.settings.config
