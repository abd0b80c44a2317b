"""rq with default settings: jobs, a dependent job, a failing job, and a worker that runs all jobs and ends.

The keys of rq belong together. With several servers they need ``RQ_KEY_PREFIX={rq}`` in the environment, which gives
all of them this hash tag.
"""

import os

from job import HOST, PORT, refused_by_several
from redis import Redis
from rq import Queue, SimpleWorker
from rq.job import JobStatus


def add(left: int, right: int) -> int:
    """A job."""
    return left + right


def fail() -> None:
    """A job that fails."""
    raise ValueError("as expected")


def run(connection: Redis) -> None:
    """Enqueue jobs, let a worker run them, and check the results."""
    # Jobs are given by name: this module runs as __main__, which the worker cannot import.
    queue = Queue(connection=connection)
    first = queue.enqueue("rq_jobs.add", 1, 2)
    second = queue.enqueue("rq_jobs.add", 3, 4, depends_on=first)
    third = queue.enqueue("rq_jobs.fail")
    many = queue.enqueue_many([Queue.prepare_data("rq_jobs.add", (number, number)) for number in range(5)])
    assert queue.count == 7
    assert second.get_status() == JobStatus.DEFERRED
    worker = SimpleWorker([queue], connection=connection)
    assert worker.work(burst=True, logging_level="WARNING")
    assert [job.return_value() for job in (first, second, *many)] == [3, 7, 0, 2, 4, 6, 8]
    assert third.get_status(refresh=True) == JobStatus.FAILED
    assert "as expected" in third.latest_result().exc_string
    assert len(queue.finished_job_registry) == 7
    assert third.id in queue.failed_job_registry
    assert queue.empty() == 0
    queue.delete()


if __name__ == "__main__":
    with Redis(host=HOST, port=PORT) as connection:
        if "RQ_KEY_PREFIX" in os.environ:
            run(connection)
        else:
            with refused_by_several("hash tag"):
                run(connection)
