"""``nutcracker inherit --check N``: can this version go on for the one that runs? See ``supervisor.upgrade``."""

import importlib
from collections.abc import Sequence

from twemproxy import __version__
from twemproxy.supervisor.early_worker import FORK_SERVER_MODULE
from twemproxy.supervisor.inheritance import InheritanceError, read


def check(arguments: Sequence[str]) -> int:
    """Whether this version can take over what is in the memory of a descriptor; ``arguments``: --check and its number.

    Prints the version or the reason, and returns the exit status 0 or 1. Imports all that a supervisor and a worker
    import, so that an installation with parts missing is noticed.
    """
    try:
        if len(arguments) != 2 or arguments[0] != "--check" or not arguments[1].isdecimal():
            raise InheritanceError("this sub-command is for the proxy itself, see nutcracker help upgrade")
        read(int(arguments[1]))
        importlib.import_module("twemproxy.supervisor.supervisor")
        importlib.import_module(FORK_SERVER_MODULE)
    except (InheritanceError, ImportError) as error:
        print(error)
        return 1
    print(__version__)
    return 0
