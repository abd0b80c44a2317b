"""The run_id of INFO."""

import re

from twemproxy.upstream.identity import run_id


def test_it_looks_as_that_of_redis_and_stays() -> None:
    assert re.fullmatch("[0-9a-f]{40}", run_id("alpha"))
    assert run_id("alpha") == run_id.__wrapped__("alpha")
    assert run_id("alpha") != run_id("beta")
