"""The fingerprints of a configuration and of its pools."""

import hashlib
import json
import subprocess
import sys

import msgspec
import pytest

from twemproxy.config.fingerprint import canonical_text, config_fingerprint, pool_fingerprint, sharding_of
from twemproxy.config.loading import loads
from twemproxy.config.pools import Config, PoolConfig

TEXT = """\
alpha:
  listen: 127.0.0.1:22121
  redis: true
  redis_auth: hunter2
  hash_tag: "{}"
  servers:
    - 127.0.0.1:6379:1 é
    - 127.0.0.1:6380:2 a
"""


def config(text: str = TEXT) -> Config:
    return loads(text.encode(), "my.yml")


def test_it_is_the_digest_of_a_documented_text() -> None:
    text = rb'["ketama","fnv1a_64","{}",[["a",2],["\u00e9",1]]]'
    assert pool_fingerprint(config().pools[0]) == hashlib.sha256(text).hexdigest()[:16]
    assert sharding_of(config().pools[0]).names == (b"a", "é".encode())


def test_every_field_counts() -> None:
    first = config().pools[0]
    fingerprints = {config_fingerprint(config())}
    for field in msgspec.structs.fields(PoolConfig):
        value = getattr(first, field.name)
        match value:
            case bool():
                other: object = not value
            case int():
                other = value + 1
            case float():
                other = value + 0.5
            case str():
                other = value + "x"
            case _ if field.name == "listen":
                other = msgspec.structs.replace(value, permission=7)
            case _ if field.name == "servers":
                other = value[:1]
            case _:
                other = (*value, "x")
        changed = msgspec.structs.replace(first, **{field.name: other})
        fingerprints.add(config_fingerprint(Config(pools=(changed,))))
    assert len(fingerprints) == len(msgspec.structs.fields(PoolConfig)) + 1
    assert all(len(fingerprint) == 16 for fingerprint in fingerprints)


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("  hash_tag", "  timeout: 0\n  hash_tag"), f"# a\n{TEXT}"])
def test_only_values_count(text: str) -> None:
    assert config_fingerprint(config(text)) == config_fingerprint(config())


def test_a_password_is_not_in_the_text() -> None:
    text = canonical_text(config())
    assert b"hunter2" not in text
    digest = hashlib.pbkdf2_hmac("sha256", b"hunter2", b"redis_auth", 100_000).hex()
    assert json.loads(text)["pools"][0]["redis_auth"] == digest
    assert hashlib.sha256(text).hexdigest()[:16] == config_fingerprint(config())


def test_fingerprints_without_a_password_do_not_load_openssl() -> None:
    code = (
        "import sys\nfrom twemproxy.config.changes import changes\n"
        "from twemproxy.config.fingerprint import config_fingerprint\nfrom twemproxy.config.loading import loads\n"
        f"config = loads({TEXT.replace('  redis_auth: hunter2', '').encode()!r}, '')\n"
        "assert not changes(config, config)\nprint(config_fingerprint(config), '_hashlib' in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = config_fingerprint(config(TEXT.replace("  redis_auth: hunter2", "")))
    assert process.stdout.split() == [expected, "False"]
