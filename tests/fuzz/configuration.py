"""Fuzzes the loading of nutcracker.yml."""

import random
from types import ModuleType
from typing import Any

import msgspec

from fuzz.checking import Check
from harness.flavours import Load
from twemproxy.config.directives import DIRECTIVES

_ADDRESSES = ["127.0.0.1:22121", "127.0.0.1:22122", "0.0.0.0:1", "::1:22121", "/tmp/a.sock", "/tmp/a 0660", "h:1", "a"]
_SERVERS = [
    "127.0.0.1:6379:1",
    "127.0.0.1:6380:1 a",
    "h:11211:1",
    "/tmp/s:1",
    "/tmp/s:1 b",
    "127.0.0.1:0:0",
    "h",
    "x:1",
]
_TEXTS = [
    "",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "1000",
    "4294967296",
    "x",
    '"a b"',
    "'a'",
    "{}",
    '"{}"',
    "[a]",
    "&a b",
    "*a",
]
TOKENS = [
    *(f"  {row.name}: ".encode() for row in DIRECTIVES),
    *(choice.encode() for row in DIRECTIVES for choice in row.choices),
    *(text.encode() for text in (*_ADDRESSES, *_SERVERS, *_TEXTS)),
    *(b"\n", b": ", b"\n  ", b"\n    - ", b"#", b"|\n", b">\n", b"---\n", b"...\n", b"%YAML 1.1\n", b"!!str ", b"? "),
    b"\xef\xbb\xbf",
    *(b'"\\0"', b'"\\u2028"', b"\xc3\xa9", b"\xff", b"\t", b"\r\n", b"<<: ", b"get", b"flushall keys", b"config|set"),
]


def pool(source: random.Random) -> bytes:
    """A pool, which is usually valid."""
    name = source.choice(["alpha", "beta", "a", "gamma delta", '"é"'])
    lines = [f"{name}:", f"  listen: {source.choice(_ADDRESSES)}"]
    for row in source.sample(DIRECTIVES, source.randrange(5)):
        if row.name not in ("listen", "servers"):
            values = {"boolean": ["true", "false"], "number": ["0", "1", "30", "400"]}.get(row.kind, list(row.choices))
            value = source.choice(values) if values and source.random() < 0.8 else source.choice(_TEXTS)
            lines.append(f"  {row.name}: {value}")
    lines.append("  servers:")
    lines += [f"    - {server}" for server in source.sample(_SERVERS, source.randrange(1, 4))]
    return ("\n".join(lines) + "\n").encode()


def _no_questions(address: Any) -> None:
    """Replaces the resolver, which is slow and depends on the machine."""
    if address.host.endswith("h"):
        raise ValueError("has an unknown host")


def files(load: Load) -> Check:
    """Checks whole files: each loads, always with the same result, or is refused, with a place for each reason."""
    loading = load("twemproxy.config.loading")
    pools = load("twemproxy.config.pools")
    warnings = load("twemproxy.config.warnings")
    loading.resolve_listen = _no_questions  # type: ignore[attr-defined]

    def check(data: bytes) -> None:
        try:
            config = loading.loads(data, "nutcracker.yml")
        except loading.ConfigError as error:
            _check_refusal(error, data)
            return
        _check_config(config, pools)
        assert loading.loads(data, "nutcracker.yml") == config
        assert all(str(warning).isprintable() for warning in warnings.warnings(config))

    return check


def _check_refusal(error: Any, data: bytes) -> None:
    places = []
    for text, problem in zip(str(error).split("\n"), error.problems, strict=True):
        assert text == f"nutcracker.yml:{problem.line}:{problem.column}: {problem.message}"
        assert problem.message
        assert text.isprintable(), text
        assert 1 <= problem.line <= len(data.decode("utf-8", "replace").splitlines()) + 1
        assert problem.column >= 1
        places.append((problem.line, problem.column))
    assert places == sorted(places)
    assert (error.message, error.line, error.column) in error.problems


def _check_config(config: Any, pools: ModuleType) -> None:
    """Check what is promised of a configuration, and that it reaches a worker unchanged."""
    assert config.pools
    for loaded in config.pools:
        assert loaded.name
        assert loaded.servers
        assert len({server.name for server in loaded.servers}) == len(loaded.servers)
        for row in DIRECTIVES:
            if row.kind == "number":
                number = getattr(loaded, row.name)
                assert row.minimum <= number <= row.maximum or number == row_default(pools, row.name)
            elif row.choices and row.kind != "commands":
                assert getattr(loaded, row.name) in row.choices
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(config), type=pools.Config)
    assert decoded == config


def row_default(pools: ModuleType, name: str) -> object:
    """The value of a directive that is not in the file."""
    return next(field.default for field in msgspec.structs.fields(pools.PoolConfig) if field.name == name)
