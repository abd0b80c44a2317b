"""The command with several workers: their number is in the environment variable WORKERS, see ``with_workers``.

The supervisor is a Python and the workers are the program nutcracker, or also a Python if PROGRAM is not set.
"""

import os
import sys
from functools import partial

from twemproxy import cli
from twemproxy.supervisor import early_worker, supervisor

if __name__ == "__main__":
    count = int(os.environ["WORKERS"])
    if program := os.environ.get("PROGRAM"):
        early_worker.PYTHON_WORKER = early_worker.NATIVE_WORKER._replace(path=program)  # type: ignore[misc]
    early_worker.EarlyWorker = partial(early_worker.EarlyWorker, workers=count)  # type: ignore[misc, assignment]
    supervisor.run = partial(supervisor.run, workers=count)
    sys.exit(cli.main())
