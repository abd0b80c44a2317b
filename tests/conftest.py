"""The two flavours of dual modules as fixtures, and the settings of hypothesis."""

import pytest
from hypothesis import HealthCheck, settings

from harness.flavours import Both, Load, compiled, interpreted

# Whether a test passes must not depend on the speed of the machine.
settings.register_profile("untimed", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("untimed"), max_examples=1000)
settings.load_profile("untimed")


@pytest.fixture(params=[compiled, interpreted], ids=["compiled", "interpreted"], scope="session")
def flavour(request: pytest.FixtureRequest) -> Load:
    """Loads a dual module by name; a test with this fixture runs once per flavour."""
    load: Load = request.param
    return load


@pytest.fixture(scope="session")
def both_flavours() -> Both:
    """Loads a dual module by name as (compiled, interpreted), for tests that compare the two."""
    return lambda name: (compiled(name), interpreted(name))
