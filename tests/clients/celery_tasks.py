"""The application whose worker ``celery_worker.py`` starts; the environment variable ``BROKER`` has its redis URL.

The keys of celery belong together. With several servers they need a ``global_keyprefix`` with a hash tag, for the
broker and for the results: the environment variable ``PREFIX``.
"""

import os

from celery import Celery

app = Celery("tasks", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
if "PREFIX" in os.environ:
    app.conf.broker_transport_options = {"global_keyprefix": os.environ["PREFIX"]}
    app.conf.result_backend_transport_options = {"global_keyprefix": os.environ["PREFIX"]}


@app.task
def add(left: int, right: int) -> int:
    """A task."""
    return left + right


@app.task
def total(numbers: list[int]) -> int:
    """The task at the end of a chord."""
    return sum(numbers)


@app.task(bind=True, max_retries=1)
def second_try(self) -> str:
    """A task that succeeds when it is retried."""
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return "done"
