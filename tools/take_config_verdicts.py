"""Writes tests/golden/config_cases.json: nutcracker's verdicts on many configuration files.

Run by hand, never by the tests, where nutcracker 0.5.0 is installed. The script uses no code of this project, so that
the data can contradict it. The data is a list of

    {"name": a name for the case, "text": the file (bytes that are not UTF-8 as lone surrogates),
     "accepted": whether ``nutcracker -t`` accepts the file, "reason": the reason in the log otherwise, often empty,
     "servers": names of the servers in order of index, for accepted cases about servers}

The path of the file is removed from the reasons.
"""

import argparse
import json
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CASES = Path(__file__).parents[1] / "tests" / "golden" / "config_cases.json"
DEADLINE = 10.0
"""Seconds after which something that should have happened is an error."""

LISTEN = "127.0.0.1:22121"
SERVER = "127.0.0.1:6379:1"
GOOD = f"alpha:\n  listen: {LISTEN}\n  servers:\n    - {SERVER}\n"
OTHER = "beta:\n  listen: 127.0.0.1:22122\n  servers:\n    - 127.0.0.1:6380:1\n"

LISTENS = (
    *(
        "/run/a",
        "/run/a 0666",
        "/run/a 777",
        "/run/a 0777",
        "/run/a 1000",
        "/run/a abc",
        "/run/a -1",
        "/run/a -0",
    ),
    *(
        "/run/a 0o666",
        "/run/a 999",
        "/run/a 0666x",
        "/run/a +0666",
        "/run/a 4294967296",
        "/run/a 40000000000",
    ),
    *(
        "/run/a 37777777777",
        "'/run/a '",
        "/run/a b",
        "/run/a b 0644",
        "/run/a  0666",
        "/",
        "'/ 1'",
        "'//:80'",
    ),
    *("/" + "x" * 106, "/" + "x" * 107, "/" + "x" * 107 + " 1", "/" + "x" * 106 + " 0600", '"/run/a\\0b"'),
    *('"/run/a\\tb"', '"/run/a\\t0666"', '"/run/a \\t0666"', "/run/a:80", "run/a", "./a"),
    *("127.0.0.1", "'127.0.0.1:'", "127.0.0.1:0", "127.0.0.1:1", "127.0.0.1:65535", "127.0.0.1:65536"),
    *("127.0.0.1:abc", "127.0.0.1:080", "127.0.0.1:-1", "127.0.0.1:+1", "127.0.0.1:0x50", "':80'", "::1:80"),
    *(
        "'[::1]:80'",
        "':::80'",
        "'*:80'",
        "localhost:80",
        "no.such.host.invalid:80",
        "127.1:80",
        "2130706433:80",
    ),
    *(
        "a..b:80",
        "'127.0.0.1:80 '",
        "' 127.0.0.1:80'",
        "'127.0.0.1 :80'",
        "0x7f.1:80",
        "127.0.0.1:4294967376",
    ),
    *(
        "é:80",
        "'a b:80'",
        "x" * 64 + ":80",
        "'127.0.0.1 a:80'",
        '"127.0.0.1\\0:80"',
        "0.0.0.0:80",
        "256.1.1.1:80",
    ),
)

SERVER_LISTS: tuple[tuple[str, ...], ...] = (
    ("127.0.0.1:6379:1",),
    ("127.0.0.1:6379",),
    ("127.0.0.1",),
    ("'127.0.0.1:6379:'",),
    ("127.0.0.1:6379:",),
    ("127.0.0.1:6379:0",),
    ("127.0.0.1:6379:00",),
    ("127.0.0.1:6379:x",),
    ("127.0.0.1:6379:-1",),
    ("127.0.0.1:6379:1.5",),
    ("127.0.0.1:6379:2147483647",),
    ("127.0.0.1:6379:2147483648",),
    ("127.0.0.1:6379:4294967296",),
    ("127.0.0.1:6379:4294967297",),
    ("127.0.0.1:6379:99999999999",),
    ("127.0.0.1:0:1",),
    ("127.0.0.1:65535:1",),
    ("127.0.0.1:65536:1",),
    ("127.0.0.1:4294967376:1",),
    ("127.0.0.1:x:1",),
    ("'127.0.0.1::1'",),
    ("':6379:1'",),
    ("::1:6379:1",),
    ("'[::1]:6379:1'",),
    ("127.0.0.1:6379:1 a",),
    ("127.0.0.1:6379:1  a",),
    ("127.0.0.1:6379:1 a b",),
    ("'127.0.0.1:6379:1 '",),
    ("'127.0.0.1:6379:1  '",),
    ("' 127.0.0.1:6379:1'",),
    ("a:b",),
    ("'a:1:1 b:c'",),
    ("'a:1:1 :'",),
    ("'a:1:1 /x'",),
    ("/run/a:1",),
    ("/run/a",),
    ("/run/a:0",),
    ("/run/a:x",),
    ("/run/a:1 b",),
    ("/run/a:1  b",),
    ("/run/a b:1",),
    ("/run/a b:1 n",),
    ("/run/a:b:1",),
    ("/run/a:b:1 n",),
    ("'/run/a:1 '",),
    ("'/run/a: 1'",),
    ("'/run/a:1: n'",),
    ("'/a:80:1'",),
    ("'/a:1 /x:2'",),
    ("'/a :1'",),
    ("'/ :1 n'",),
    ("'/:1'",),
    ("'/:'",),
    ("'/'",),
    ("/" + "x" * 107 + ":1",),
    ("x" * 300 + ":1:1",),
    ("a b:1:1",),
    ("'a b:1:1 n'",),
    ("':::1:1'",),
    ("'::1'",),
    ("' :1:1'",),
    ("' :1:1 n'",),
    ("127.0.0.1:06379:1",),
    ("127.0.0.1:11211:1",),
    ("127.0.0.1:011211:1",),
    ("127.0.0.1:11211:01",),
    ("127.0.0.1:11211:1 n",),
    ("'127.0.0.1:1:1: n'",),
    ('"a:1:1\\tn"',),
    ('"a\\0b:1:1"',),
    ('"/a\\0b:1"',),
    ("':1'",),
    ("' '",),
    ("':'",),
    ("'::'",),
    ("':::'",),
    ("'a::1'",),
    ("'::1 n'",),
    ("':1:1 n'",),
    ("' n'",),
    ("':1 n'",),
    ("': n'",),
    ("':: n'",),
    ("'a: n'",),
    ("'a:: n'",),
    ("'/a: n'",),
    ("'/a n'",),
    ("''",),
    ("",),
    ("127.0.0.1:1:1 server10", "127.0.0.1:2:1 b", "127.0.0.1:3:1 server2"),
    ("127.0.0.1:1:1 é", "127.0.0.1:2:1 zz", "127.0.0.1:3:1 ab", "127.0.0.1:4:1 Z"),
    ("127.0.0.1:10:1", "127.0.0.1:9:1", "/run/a:1", "127.0.0.1:11211:1"),
    ("127.0.0.1:1:1", "127.0.0.1:1:2"),
    ("127.0.0.1:1:1", "127.0.0.1:01:1"),
    ("127.0.0.1:1:1 a", "127.0.0.1:1:1 b"),
    ("127.0.0.1:1:1 a", "127.0.0.1:2:1 a"),
    ("127.0.0.1:11211:1", "127.0.0.1:011211:1"),
    ("127.0.0.1:11211:1", "127.0.0.1:11211:2 127.0.0.1:11211"),
    ("'a:1:1 '", "'b:1:1 '"),
)

NUMBERS = (
    *("0", "1", "007", "'5'", '"5"', "2147483647", "2147483648", "4294967295", "4294967296", "4294967297"),
    *(
        "99999999999999999999",
        "+5",
        "-1",
        "0x5",
        "5.0",
        "5s",
        "٣",
        '"5\\0"',
        "' 5'",
        "'5 '",
        "1 2",
        "1, 2",
        "~",
    ),
    *("|\n      5", "|-\n      5", ">-\n      5", '""', "", "null", "true"),
)
BOOLEANS = ("true", "false", "'true'", '"false"', "True", "TRUE", "yes", "on", "1", "0", "'true '", "", "''")
VALUES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("timeout", NUMBERS),
    *((name, ("0", "3", "x", "2147483648")) for name in ("backlog", "client_connections", "redis_db")),
    *(
        (name, ("0", "3", "x", "2147483648"))
        for name in ("server_connections", "server_retry_timeout", "server_failure_limit")
    ),
    ("redis", BOOLEANS),
    *((name, ("true", "false", "yes")) for name in ("tcpkeepalive", "preconnect", "auto_eject_hosts")),
    ("reuseport", ("true",)),
    (
        "hash",
        (
            *(
                "one_at_a_time",
                "md5",
                "crc16",
                "crc32",
                "crc32a",
                "fnv1_64",
                "fnv1a_64",
                "fnv1_32",
                "fnv1a_32",
            ),
            *("hsieh", "murmur", "jenkins", "MD5", "'md5 '", "fnv", "sha1", "murmur3", "''"),
        ),
    ),
    ("distribution", ("ketama", "modula", "random", "Ketama", "rand", "consistent")),
    ("hash_tag", ("ab", "'{}'", '"$$"', "a", "abc", "é", "€", '"\\0\\0"', "'  '", "12")),
    ("redis_auth", ("x",)),
    *((name, ("x",)) for name in ("sentinels", "weight", "Timeout", "'timeout '", "hashes", '"timeout\\0"', "''")),
    ("redis_auth", ("x\n  redis: true", "'a b'\n  redis: true", '"\\0"\n  redis: true', "x\n  redis: false")),
    ("redis_auth", ("x\n  redis_auth: x", "''\n  redis: true")),
)

LINES = (
    *("hash: md5\n  hash: md5", "redis: true\n  redis: true", "hash_tag: ab\n  hash_tag: ab"),
    *(
        "timeout: 1\n  timeout: 2",
        "listen: 127.0.0.1:1",
        "listen: 127.0.0.1:22121",
        "servers: 127.0.0.1:1:1 x",
    ),
    *(
        "servers: 127.0.0.1:6379:2",
        "servers:\n    - 127.0.0.1:1:1 x",
        "hash:\n    - md5",
        "hash:\n    sub: md5",
    ),
    *("timeout: [1]", "timeout: [1", "timeout: {a: 1}", "timeout: ]", "timeout: '[1]'", "timeout: &a 1"),
    *("timeout: *a", "hash: &a md5\n  distribution: *a", "timeout: !!int 5", "timeout: ! 5", "timeout: @x"),
    *("timeout: 'x", "timeout: `x", "timeout: %x", "\tfoo: bar", ": x", "? hash\n  : md5", "? - a\n  : b"),
    *(
        "? a: b\n  : c",
        "? [a]\n  : b",
        "hash : md5",
        "hash:md5",
        "hash",
        "- md5",
        '"hash": "md5"',
        "'hash': 'md5'",
    ),
    *('"h\\u0061sh": md5', "hash: md5 # why", "hash: md5# why", "# hash: nonsense", "hash: md5\n  # end"),
    *("hash: crc32\r", "timeout: 1 \\\n   2", "servers: x", "<<: x", "timeout: 5\n  server_connections: 0"),
)

FILES: tuple[tuple[str, str], ...] = (
    ("nothing", ""),
    ("only a comment", "# nothing\n"),
    ("only a line break", "\n"),
    ("a document marker and nothing", "---\n"),
    ("a word", "foo\n"),
    ("an empty quoted word", "''\n"),
    ("a list", "- foo\n"),
    ("a flow list", "[]\n"),
    ("a flow mapping", "{}\n"),
    ("a pool without anything", "alpha:\n"),
    ("a pool that is a word", "alpha: foo\n"),
    ("a pool that is a list", "alpha:\n  - b\n"),
    ("a pool that is an empty flow mapping", "alpha: {}\n"),
    ("a pool without a list", "alpha:\n  listen: 127.0.0.1:1\n"),
    ("a pool with a directive that is a mapping", "alpha:\n  listen:\n    x: y\n"),
    ("servers as a mapping", "alpha:\n  servers:\n    x: y\n"),
    ("a list in the list", "alpha:\n  servers:\n    - - x\n"),
    ("a mapping in the list", f"alpha:\n  listen: {LISTEN}\n  servers:\n    - a: b\n"),
    ("no listen", f"alpha:\n  servers:\n    - {SERVER}\n"),
    ("no listen and no servers", "alpha:\n  hash:\n    - md5\n"),
    ("no servers", f"alpha:\n  listen: {LISTEN}\n  hash:\n    - md5\n"),
    ("empty servers", f"alpha:\n  listen: {LISTEN}\n  servers:\n"),
    ("servers as a word", f"alpha:\n  listen: {LISTEN}\n  servers: {SERVER}\n"),
    (
        "servers as a word, the hash as a list",
        f"alpha:\n  listen: {LISTEN}\n  servers: {SERVER}\n  hash:\n    - md5\n",
    ),
    (
        "servers as a word, two hashes in a list",
        f"alpha:\n  listen: {LISTEN}\n  servers: {SERVER}\n  hash:\n    - md5\n    - md5\n",
    ),
    ("listen as a list", f"alpha:\n  servers: {SERVER}\n  listen:\n    - {LISTEN}\n"),
    ("two lists of servers", f"{GOOD}  servers:\n    - {SERVER} x\n"),
    ("a list that is not indented", f"alpha:\n  listen: {LISTEN}\n  servers:\n  - {SERVER}\n"),
    ("tight lists", f"alpha:\n listen: {LISTEN}\n servers:\n - {SERVER}\n"),
    ("CRLF", GOOD.replace("\n", "\r\n")),
    ("CR alone", GOOD.replace("\n", "\r")),
    ("no line break at the end", GOOD.rstrip("\n")),
    ("tabs before values", GOOD.replace(": ", ":\t")),
    ("UTF-8 with a mark", "\ufeff" + GOOD),
    ("UTF-16 with a mark", ("\ufeff" + GOOD).encode("utf-16-le").decode(errors="surrogateescape")),
    ("Latin-1", GOOD.replace("alpha", "\udce9")),
    ("a control character", GOOD.replace("alpha", "al\x01pha")),
    ("a NUL", GOOD + "\0"),
    ("a pool key with line breaks", '"al\\nfa":' + GOOD.partition(":")[2]),
    ("a pool key with an e acute", GOOD.replace("alpha", "é")),
    ("an empty pool key", '"":' + GOOD.partition(":")[2]),
    ("a pool key that is null", "~:" + GOOD.partition(":")[2]),
    ("a pool key that is a list", "? - a\n: b\n"),
    ("a pool key that is a mapping", "? a: b\n: c\n"),
    ("a pool key with a question mark", "? alpha\n:" + GOOD.partition(":")[2]),
    ("a long pool name", GOOD.replace("alpha", "a" * 900)),
    ("two pools", GOOD + OTHER),
    ("two pools, the second a word", GOOD + "beta: foo\n"),
    ("two pools, the second empty", GOOD + "beta:\n"),
    ("two pools, the second without a list", GOOD + "beta:\n  listen: 127.0.0.1:2\n"),
    ("two pools, the second with a misspelt directive", GOOD + OTHER + "  hahs: md5\n"),
    ("two pools of one name", GOOD + OTHER.replace("beta", "alpha")),
    ("two pools of one listen", GOOD + OTHER.replace("22122", "22121")),
    ("two pools of one name and listen", GOOD + GOOD),
    ("two pools of equal listen, spelt differently", GOOD + OTHER.replace("22122", "022121")),
    ("a pool and a list", GOOD + "- x\n"),
    ("two documents", GOOD + "---\n" + OTHER),
    ("a document marker", "---\n" + GOOD),
    ("a document end marker", GOOD + "...\n"),
    ("a YAML directive", "%YAML 1.1\n---\n" + GOOD),
    ("a TAG directive", "%TAG ! tag:x,2000:\n---\n" + GOOD),
    ("an unknown directive of YAML", "%FOO bar\n---\n" + GOOD),
    ("an anchor on the pool", GOOD.replace("alpha:", "alpha: &a")),
    ("a tag on the pool", GOOD.replace("alpha:", "alpha: !!map")),
    ("wrong indentation", GOOD.replace("  servers", "   servers")),
    ("a pool in a pool", "all:\n" + "".join(f"  {line}\n" for line in GOOD.splitlines())),
)


def cases() -> Iterator[tuple[str, str]]:
    """Every case once: its name and its file."""
    yield from FILES
    for value in LISTENS:
        yield f"listen {value}", GOOD.replace(LISTEN, value)
    for entries in SERVER_LISTS:
        lines = "".join(f"    - {entry}\n" for entry in entries)
        yield f"servers {', '.join(entries)}", GOOD.replace(f"    - {SERVER}\n", lines)
    for name, values in VALUES:
        for value in values:
            yield f"value {name} {value}", f"{GOOD}  {name}: {value}\n"
    for line in LINES:
        yield f"line {line}", f"{GOOD}  {line}\n"


def verdict(command: str, text: str, *, about_servers: bool) -> dict[str, Any]:
    """nutcracker's verdict on a file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "nutcracker.yml"
        file.write_bytes(text.encode(errors="surrogateescape"))
        tested = subprocess.run([command, "-t", "-c", str(file)], stderr=subprocess.DEVNULL, check=False)
        accepted = tested.returncode == 0
        found: dict[str, Any] = {"accepted": accepted}
        if not accepted:
            found["reason"] = refusal(command, file)
        elif about_servers:
            found["servers"] = server_names(command, file)
        return found


def refusal(command: str, file: Path) -> str:
    """The reason for a failed start, from its log."""
    log = file.with_name("log")
    stats = file.with_name("stats.sock")
    arguments = [command, "-c", str(file), "-o", str(log), "-a", str(stats)]
    subprocess.run(arguments, stderr=subprocess.DEVNULL, timeout=DEADLINE, check=False)
    lines = log.read_text(errors="replace").splitlines()
    reasons = [line.partition(" conf: ")[2] for line in lines if " conf: " in line]
    return re.sub(rf"'{re.escape(str(file))}' ", "", reasons[-1]) if reasons else ""


def server_names(command: str, file: Path) -> list[str]:
    """The names of the servers in a file's only pool, in order of index, from the statistics of a run."""
    file.write_text(file.read_text().replace(LISTEN, str(file.with_name("listen.sock"))))
    stats = file.with_name("stats.sock")
    log = file.with_name("log")
    process = subprocess.Popen([command, "-c", str(file), "-o", str(log), "-a", str(stats)])
    try:
        document = json.loads(document_of(stats), strict=False)
    finally:
        process.kill()
        process.wait()
    return [name for name, value in document["alpha"].items() if isinstance(value, dict)]


def document_of(stats: Path) -> str:
    """The statistics, as soon as they are available."""
    end = time.monotonic() + DEADLINE
    while True:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(stats))
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
                continue
            with connection.makefile(encoding="utf-8", errors="replace") as document:
                return document.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nutcracker", default=shutil.which("nutcracker"), help="the command to ask")
    arguments = parser.parse_args()
    if not arguments.nutcracker:
        parser.error("nutcracker is not on the PATH")
    taken = [
        {"name": name, "text": text} | verdict(arguments.nutcracker, text, about_servers=name.startswith("servers "))
        for name, text in cases()
    ]
    lines = ",\n".join(json.dumps(case) for case in taken)
    CASES.write_text(f"[\n{lines}\n]\n")
    print(f"{len(taken)} cases, {sum(case['accepted'] for case in taken)} accepted")


if __name__ == "__main__":
    main()
