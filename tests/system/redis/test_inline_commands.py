"""Inline commands get the same replies as from redis."""

import pytest

from harness.connection import Connection
from harness.proxy import redis_pool
from harness.resp import OK, bulk, command, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure

LINES = {
    "ping": b"PING\r\n",
    "ping-lf": b"PING\n",
    "ping-lower": b"ping\r\n",
    "ping-message": b"PING hello\r\n",
    "blanks-around": b"   PING   \r\n",
    "tabs": b"ECHO\tword\t\r\n",
    "echo-quoted": b'ECHO "two words"\r\n',
    "echo-single-quoted": b"ECHO 'two words'\r\n",
    "echo-hexadecimal": b'ECHO "\\x41\\x00\\xff"\r\n',
    "echo-escapes": b'ECHO "\\n\\r\\t\\b\\a\\"\\\\ \\q"\r\n',
    "echo-single-quote-escape": b"ECHO 'it\\'s \\n'\r\n",
    "echo-empty": b'ECHO ""\r\n',
    "set-and-get": b'SET inline "a value"\r\nGET inline\r\nSTRLEN inline\r\n',
    "split-command": b"MSET a 1 b 2 c 3 d 4\r\nMGET d c b a none\r\nDEL a b c d\r\n",
    "empty-lines": b"\r\n\n\r\nPING\r\n\r\n\nPING\n",
    "unknown": b"NOSUCHCOMMAND a b\r\n",
    "wrong-arity": b"GET\r\n",
    "unknown-words": b"BREW / HTCPCP/1.0\r\n",
    "binary-word": b"ECHO \xff\xfe\x01\r\n",
    "between-arrays": command("SET", "k", "v") + b"GET k\r\n" + command("APPEND", "k", "w") + b"GET k\n",
}
ANSWERS = {"set-and-get": 3, "split-command": 3, "empty-lines": 2, "between-arrays": 4}


@pytest.mark.parametrize("name", LINES)
def test_line_is_answered_as_redis_does(client: Connection, servers: list[RedisServer], name: str) -> None:
    count = ANSWERS.get(name, 1)
    direct = servers[0].connect()
    direct.send(LINES[name])
    expected = direct.replies(count)
    servers[0].ask("FLUSHALL")
    client.send(LINES[name])
    assert client.replies(count) == expected


def test_line_arrives_byte_by_byte(client: Connection) -> None:
    line = b'SET slow "a b"\r\nGET slow\r\n'
    client.send_pieces(*(line[i : i + 1] for i in range(len(line))))
    client.expect(OK + bulk("a b"))


def test_servers_get_lines_as_arrays(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        proxy.client().send(b"SET k 'a b' EX 10\r\n")
        server.accept().expect(command("SET", "k", "a b", "EX", "10"))


def test_a_long_line_below_the_limit(client: Connection) -> None:
    client.send(b"SET long " + b"v" * 60000 + b"\r\nSTRLEN long\r\n")
    client.expect(OK + integer(60000))
