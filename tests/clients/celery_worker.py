"""celery with redis as broker and result backend, with default settings: tasks, and a worker that runs them."""

import os
import subprocess
import sys
from pathlib import Path

from job import SERVERS, URL

os.environ["BROKER"] = URL

from celery import chain, chord, group
from celery_tasks import add, app, second_try, total

WORKER = [
    *[sys.executable, "-S", "-m", "celery", "--app", "celery_tasks", "worker"],
    *["--pool", "solo", "--loglevel", "WARNING"],
]


def run() -> None:
    """Send tasks of every kind to the worker, and shut it down."""
    assert add.delay(1, 2).get(timeout=30) == 3
    assert group(add.s(number, number) for number in range(5))().get(timeout=30) == [0, 2, 4, 6, 8]
    assert chord((add.s(number, 1) for number in range(5)), total.s())().get(timeout=30) == 15
    assert chain(add.s(1, 2), add.s(3))().get(timeout=30) == 6
    assert second_try.delay().get(timeout=30) == "done"
    assert add.apply_async((2, 2), countdown=0.1, priority=5).get(timeout=30) == 4
    assert app.control.ping(timeout=30, limit=1)
    app.control.shutdown()


def main() -> None:
    works = SERVERS == 1 or "PREFIX" in os.environ
    here = Path(__file__).parent
    worker = subprocess.Popen(WORKER, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        if works:
            run()
        output, _ = worker.communicate(timeout=40)
        assert works or "hash tag" in output, f"the worker's error does not name the remedy:\n{output}"
        assert not works or worker.returncode == 0, output
    finally:
        if worker.poll() is None:
            worker.kill()
            print(worker.communicate()[0])


main()
