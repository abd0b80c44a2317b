"""The application whose worker ``celery_worker.py`` starts; ``BROKER`` in the environment is its redis.

Its keys belong together. With several servers it takes a ``global_keyprefix`` that is a hash tag, for the broker and
for the results: ``PREFIX`` in the environment.
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
    """What a chord ends with."""
    return sum(numbers)


@app.task(bind=True, max_retries=1)
def second_try(self) -> str:
    """A task that goes well when it is tried again."""
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return "done"
