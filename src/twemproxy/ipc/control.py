"""What sub-commands and the supervisor say to each other, over the control socket.

The control socket is a unix stream socket. Each message is a line with a JSON object, whose member ``type`` names it. A
sub-command sends a request, and gets one answer.
"""

from typing import Annotated, Final

import msgspec

from twemproxy.config.pools import Config
from twemproxy.ipc.messages import ClientWork, ConfigStatus, Inspection

LONGEST_REQUEST: Final = 65536
"""Bytes of a request."""
MOST_VERBOSE: Final = 11
"""The highest log level."""
LONGEST_CHECK: Final = 30.0
"""Most seconds of ``CheckHealth``."""


class Describe(msgspec.Struct, frozen=True, tag="describe"):
    """What is served?"""


class Reload(msgspec.Struct, frozen=True, tag="reload"):
    """Serve the configuration file as it is now."""

    fingerprint: str = ""
    """If it is not empty: only if the file has this configuration fingerprint."""


class Upgrade(msgspec.Struct, frozen=True, tag="upgrade"):
    """Go on with the version of the program that is installed now. Only a failure is answered by this version."""


class Resize(msgspec.Struct, frozen=True, tag="resize"):
    """Have another number of workers, or say how many there are."""

    workers: int | None = None
    """How many there should be; 0: as many as the system gives processors; None: as many as there are."""


class Inspect(msgspec.Struct, frozen=True, tag="inspect"):
    """Which requests were slow, and which keys are hot?"""

    pool: str = ""
    """Of this pool; empty: of all."""


class ListServers(msgspec.Struct, frozen=True, tag="list-servers"):
    """How are the servers?"""


class Eject(msgspec.Struct, frozen=True, tag="eject"):
    """Send no requests to a server, whatever its health is."""

    server: str
    """The name of the server, or its address as it is written in the file."""
    pool: str = ""
    """The name of its pool; empty if the server is in one pool only."""
    reason: str = ""
    """One line; may be empty."""
    seconds: float = 0
    """Until the end of the ejection; 0: until ``Readmit``."""


class Readmit(msgspec.Struct, frozen=True, tag="readmit"):
    """Send requests to a server again, whatever has ejected it."""

    server: str
    """As in ``Eject``. The same for ``pool``."""
    pool: str = ""


class LogLevel(msgspec.Struct, frozen=True, tag="log-level"):
    """Log messages up to another level, or say which level it is."""

    level: Annotated[int, msgspec.Meta(ge=0, le=MOST_VERBOSE)] | None = None
    """The new level; None: as it is."""


class CheckHealth(msgspec.Struct, frozen=True, tag="check-health"):
    """Does the event loop of each worker turn?"""

    seconds: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_CHECK)]
    """For which a worker is waited for."""


class ListClients(msgspec.Struct, frozen=True, tag="list-clients"):
    """Which clients are connected?"""

    pool: str = ""
    """To this pool; empty for all."""


class KillClient(msgspec.Struct, frozen=True, tag="kill-client"):
    """Close a client."""

    number: int
    pool: str = ""
    """The name of its pool; empty if there is one pool only."""


class ExplainClient(msgspec.Struct, frozen=True, tag="explain-client"):
    """What does a client wait for, and which connections to servers does it use?"""

    pool: str
    """The name of its pool."""
    number: int


class ReportRequest(msgspec.Struct, frozen=True, tag="report"):
    """What does the proxy do?"""


Request = (
    Describe
    | Reload
    | Upgrade
    | Resize
    | Inspect
    | ListServers
    | Eject
    | Readmit
    | LogLevel
    | CheckHealth
    | ListClients
    | KillClient
    | ExplainClient
    | ReportRequest
)


class Served(msgspec.Struct, frozen=True, tag="served"):
    """The answer to ``Describe``."""

    version: str
    pid: int
    config: Config
    conf_file: str
    """The absolute path of the configuration file."""
    status: ConfigStatus
    ready: bool
    """Whether the proxy takes clients: all workers accept them, and it has not been told to stop."""


class Reloaded(msgspec.Struct, frozen=True, tag="reloaded"):
    """The answer to ``Reload``: the new configuration is served."""

    changes: tuple[str, ...]
    """What has changed, one line per difference."""
    status: ConfigStatus


class Inspections(msgspec.Struct, frozen=True, tag="inspections"):
    """The answer to ``Inspect``."""

    pools: tuple[Inspection, ...]


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The answer to a request that has failed and changed nothing."""

    reasons: tuple[str, ...]
    """One line per reason, for people."""


class Upgraded(msgspec.Struct, frozen=True, tag="upgraded"):
    """The answer to ``Upgrade``: the new version accepts clients, and takes the connected ones over."""

    former: str
    """The version that was running. ``version``: the one that runs now."""
    version: str


class Resized(msgspec.Struct, frozen=True, tag="resized"):
    """The answer to ``Resize``."""

    workers: int
    """How many there are."""
    auto: bool
    """Whether their number follows that of the processors."""


class Ejection(msgspec.Struct, frozen=True):
    """A server that was ejected by hand."""

    pool: str
    server: str
    """The name of the server."""
    reason: str
    """As the operator has given it; may be empty."""
    since: float
    """Seconds since the epoch."""
    until: float
    """Seconds since the epoch; 0: until the server is readmitted."""


class ServerState(msgspec.Struct, frozen=True):
    """A server of a pool at one time."""

    name: str
    ejected: bool
    since: float
    """When it was ejected, in seconds since the epoch; 0 if it is not ejected."""
    by_hand: Ejection | None
    """Its ejection by hand, None if there is none."""
    figures: dict[str, int]
    """Values by the names of ``stats.catalogue.SERVER_METRICS``."""
    excess: float | None = None
    """How many times its share of the pool's requests it got over the last minutes, None if that is not known."""
    is_skewed: bool = False
    """Whether that is much more than once."""


class PoolState(msgspec.Struct, frozen=True):
    """A pool at one time."""

    name: str
    servers: tuple[ServerState, ...]
    """In the order of the configuration."""


class Servers(msgspec.Struct, frozen=True, tag="servers"):
    """The answer to ``ListServers``."""

    config: Config
    pools: tuple[PoolState, ...]
    """In the order of the configuration."""


class Ejected(msgspec.Struct, frozen=True, tag="ejected"):
    """The answer to ``Eject``."""

    ejection: Ejection
    address: str
    """The address of the server as it is written in the file."""


class Readmitted(msgspec.Struct, frozen=True, tag="readmitted"):
    """The answer to ``Readmit``."""

    pool: str
    server: str
    """The name of the server."""
    address: str
    """As in ``Ejected``."""


class LogLevelIs(msgspec.Struct, frozen=True, tag="log-level-is"):
    """The answer to ``LogLevel``."""

    level: int


class WorkerHealth(msgspec.Struct, frozen=True):
    """Whether the event loop of a worker turns."""

    number: int
    pid: int
    """0 if there is no process now: the worker has died, and is replaced soon."""
    turned: bool
    """Whether the event loop has turned in time."""


class Health(msgspec.Struct, frozen=True, tag="health"):
    """The answer to ``CheckHealth``."""

    workers: tuple[WorkerHealth, ...]


class ClientState(msgspec.Struct, frozen=True):
    """A client at one time."""

    pool: str
    redis: bool
    """The protocol of its pool."""
    worker: int
    """The number of the worker that serves it."""
    fields: dict[str, str]
    """Values by the names of the fields of redis's CLIENT LIST; clients of memcached pools have them, too."""


class Clients(msgspec.Struct, frozen=True, tag="clients"):
    """The answer to ``ListClients``."""

    clients: tuple[ClientState, ...]
    """In the order of the pools and of the numbers of clients."""
    silent: tuple[int, ...]
    """The numbers of the workers that do not answer: their clients are missing."""


class Killed(msgspec.Struct, frozen=True, tag="killed"):
    """The answer to ``KillClient``: the client is closed."""


class ClientExplained(msgspec.Struct, frozen=True, tag="client-explained"):
    """The answer to ``ExplainClient``."""

    work: ClientWork


class Report(msgspec.Struct, frozen=True, tag="report"):
    """The answer to ``ReportRequest``."""

    report: msgspec.Raw
    """The document of ``stats.report``, as JSON."""


Answer = (
    Served
    | Reloaded
    | Upgraded
    | Resized
    | Inspections
    | Servers
    | Ejected
    | Readmitted
    | LogLevelIs
    | Health
    | Clients
    | Killed
    | ClientExplained
    | Report
    | Refused
)

request_decoder: Final = msgspec.json.Decoder(Request)
answer_decoder: Final = msgspec.json.Decoder(Answer)


def encode(message: Request | Answer) -> bytes:
    """Return the line of a message."""
    return msgspec.json.encode(message) + b"\n"
