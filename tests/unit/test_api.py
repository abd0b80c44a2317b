"""The Python API: ``import twemproxy``. The examples of docs/python.md are tests, too."""

import doctest
import random
import subprocess
import sys
from pathlib import Path

import pytest

import twemproxy
from twemproxy import api
from twemproxy.config.fingerprint import sharding_of
from twemproxy.config.loading import loads
from twemproxy.hashing import HASHES
from twemproxy.hashing.functions import hash_bytes
from twemproxy.hashing.ring import ring_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "python.md"

KEYS = [f"key:{number}" for number in range(2000)]


def config_of(text: str = "", servers: int = 3) -> twemproxy.Config:
    entries = "".join(f"    - 10.0.0.{number}:6379:{number} s{number}\n" for number in range(1, servers + 1))
    return loads(f"alpha:\n  listen: 127.0.0.1:1\n{text}  servers:\n{entries}".encode(), "f.yml", resolve=False)


def test_examples_of_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = DOCUMENT.read_text()
    configuration = text.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "nutcracker.yml").write_text(configuration)
    (tmp_path / "grown.yml").write_text(configuration + "    - 10.0.0.4:6379:1 d\n")
    wrong = configuration.replace('murmur\n  hash_tag: "{}"', "fnv1a64\n  tiemout: 5")
    (tmp_path / "wrong.yml").write_text(wrong)
    monkeypatch.chdir(tmp_path)
    example = doctest.DocTestParser().get_doctest(text, {}, "docs/python.md", str(DOCUMENT), 0)
    lines: list[str] = []
    result = doctest.DocTestRunner().run(example, out=lines.append)
    assert result.attempted > 10
    assert result.failed == 0, "".join(lines)


def test_the_document_has_every_name() -> None:
    table = DOCUMENT.read_text().partition("## Names")[2]
    for name in twemproxy.__all__:
        assert name == "__version__" or f"`{name}" in table
    assert sorted(twemproxy.__all__) == sorted([*api.__all__, "__version__"])
    assert set(twemproxy.__all__) <= set(dir(twemproxy))


def test_names_are_imported_when_they_are_used() -> None:
    code = "import sys, twemproxy; print(len([n for n in sys.modules if n.startswith('twemproxy')])); twemproxy.Ring"
    code += "; print('twemproxy.api' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "True"]
    with pytest.raises(AttributeError, match="module 'twemproxy' has no attribute 'ring'"):
        _ = twemproxy.ring  # type: ignore[attr-defined]


@pytest.mark.parametrize("hash", HASHES)
@pytest.mark.parametrize("distribution", ["ketama", "modula"])
@pytest.mark.parametrize("tag", ["", '  hash_tag: ":5"\n'])
def test_places_are_those_of_the_ring(hash: str, distribution: str, tag: str) -> None:
    config = config_of(f"  hash: {hash}\n  distribution: {distribution}\n{tag}", 5)
    ring = twemproxy.Ring.from_config(config)
    for ejected in ((), ("s2",), ("s1", "s5")):
        after = ring.without(*ejected)
        proxys = ring_of(sharding_of(config.pools[0]), [name not in ejected for name in ring.servers])
        points = set(proxys.points())
        for key in KEYS[:300]:
            place = after.locate(key)
            assert place.server == after.servers[proxys.server_for(key.encode())]
            assert place.hash == hash_bytes(hash, place.hashed)
            assert (place.point, after.servers.index(place.server)) in points
            assert place.address == f"10.0.0.{place.server[1]}:6379"
            assert after.locate(key.encode()) == place


def test_parts_that_are_hashed() -> None:
    ring = twemproxy.Ring.from_config(config_of('  hash_tag: "{}"\n'))
    for key, part in (
        ("a{b}c", b"b"),
        ("{}a", b"{}a"),
        ("}a{b", b"}a{b"),
        ("a}{b}", b"b"),
        ("{a}{b}", b"a"),
        ("", b""),
    ):
        assert ring.locate(key).hashed == part
        assert ring.locate(key).hash == (hash_bytes("fnv1a_64", part) if part else 0)


def test_the_last_point_belongs_to_the_first_server() -> None:
    """Above the highest point, the ring begins anew."""
    config = config_of(servers=2)
    ring = twemproxy.Ring.from_config(config)
    points = ring_of(sharding_of(config.pools[0])).points()
    highest = [key for key in map(str, range(100_000)) if ring.locate(key).hash > points[-1][0]]
    assert highest
    assert {ring.locate(key).point for key in highest} == {points[0][0]}


def test_shares_after_an_ejection() -> None:
    choose = random.Random(1)
    for directives in ("", "  distribution: modula\n", "  hash: crc32\n", "  distribution: random\n"):
        ring = twemproxy.Ring.from_config(config_of(directives, 4)).without("s3")
        shares = ring.shares()
        assert shares["s3"] == 0
        assert sum(shares.values()) == pytest.approx(1)
        if "random" in directives:
            assert shares == {"s1": 1 / 3, "s2": 1 / 3, "s3": 0, "s4": 1 / 3}
            continue
        found = [ring.locate(choose.randbytes(12)).server for _ in range(20_000)]
        for name, share in shares.items():
            assert abs(found.count(name) / len(found) - share) < 0.03


def test_keys_that_move() -> None:
    old, new = (twemproxy.Ring.from_config(config_of(servers=servers)) for servers in (3, 4))
    found = list(twemproxy.moved(old, new, KEYS))
    assert [move.key for move in found] == [key for key in KEYS if old.locate(key).server != new.locate(key).server]
    assert {move.new.server for move in found} >= {"s4"}
    assert list(twemproxy.moved(old, old, KEYS)) == []


@pytest.mark.parametrize(
    ("pool", "ejected", "message"),
    [
        ("beta", (), "the configuration has no pool 'beta': its pools are 'alpha'"),
        ("alpha", ("x",), "pool 'alpha' has no server 'x': it has 's1', 's2', 's3'"),
        ("alpha", ("s1", "s2", "s3"), "pool 'alpha' has no server that is not ejected"),
    ],
)
def test_errors(pool: str, ejected: tuple[str, ...], message: str) -> None:
    with pytest.raises(twemproxy.PlacementError) as raised:
        twemproxy.Ring.from_config(config_of(), pool).without(*ejected)
    assert str(raised.value) == message


def test_a_random_pool_has_no_places() -> None:
    ring = twemproxy.Ring.from_config(config_of("  distribution: random\n"))
    with pytest.raises(twemproxy.PlacementError, match="no key has a server"):
        ring.locate("a")
    # With one server the distribution does not matter.
    assert twemproxy.Ring.from_config(config_of("  distribution: random\n", 1)).locate("a").server == "s1"


def test_errors_of_files(tmp_path: Path) -> None:
    with pytest.raises(twemproxy.ConfigError) as raised:
        twemproxy.load_config(tmp_path / "none.yml")
    assert [(problem.line, problem.column) for problem in raised.value.problems] == [(0, 0)]
    assert str(raised.value).startswith("failed to open configuration ")


def test_several_pools_need_a_name(tmp_path: Path) -> None:
    path = tmp_path / "two.yml"
    path.write_text(
        "".join(f"{name}:\n  listen: 127.0.0.1:{at}\n  servers:\n    - h:1:1\n" for at, name in ((1, "a"), (2, "b")))
    )
    with pytest.raises(
        twemproxy.PlacementError, match="several pools, and none of them is named: its pools are 'a', 'b'"
    ):
        twemproxy.Ring.from_config(path)
    assert twemproxy.Ring.from_config(path, "b").pool == "b"
