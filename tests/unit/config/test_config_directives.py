"""The table of directives is complete and agrees with the other modules."""

from twemproxy.config.directives import BY_NAME, DIRECTIVES, closest, commands_of, default
from twemproxy.config.pools import PoolConfig


def test_table_and_pool_configuration_have_the_same_names() -> None:
    assert [*BY_NAME] == [directive.name for directive in DIRECTIVES]
    assert set(BY_NAME) == set(PoolConfig.__struct_fields__) - {"name"}


def test_every_directive_explains_itself() -> None:
    for directive in DIRECTIVES:
        assert directive.help.endswith("."), directive.name
        assert bool(directive.unit) == (directive.kind == "number" and directive.name != "redis_db"), directive.name


def test_defaults_are_values_the_directive_takes() -> None:
    for directive in DIRECTIVES:
        value = default(directive)
        match directive.kind:
            case "boolean":
                assert isinstance(value, bool)
            case "number":
                assert isinstance(value, int) and value >= directive.minimum
            case "hash" | "distribution" | "policy":
                assert value in directive.choices
            case "string" | "hash tag":
                assert value == ""
            case "commands":
                assert value == () and commands_of(directive.name, "redis")
            case "listen" | "servers":
                assert value is None and directive.required


def test_closest_word() -> None:
    names = tuple(BY_NAME)
    assert closest("hahs", names) == "hash"
    assert closest("Redis ", names) == "redis"
    assert closest("auto_eject_host", names) == "auto_eject_hosts"
    assert closest("colour", names) is None
