"""nginx modules for redis or memcached; a fourth argument selects one of these. nginx runs in a folder of its own.

redis: lua-resty-redis, with its connection pool. memcached: nginx's own module and lua-resty-memcached.
"""

import http.client
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HOST, PORT, KIND = sys.argv[1], int(sys.argv[2]), sys.argv[4]
VISITS, VISITORS = 200, 8

CONFIGURATION = """
daemon off;
pid %(folder)s/pid;
error_log %(folder)s/error.log;
%(modules)s
events {}
http {
    access_log off;
    client_body_temp_path %(folder)s/body;
    proxy_temp_path %(folder)s/proxy;
    fastcgi_temp_path %(folder)s/fastcgi;
    uwsgi_temp_path %(folder)s/uwsgi;
    scgi_temp_path %(folder)s/scgi;
    lua_package_path "/usr/share/lua/5.1/?.lua;;";
    server {
        listen unix:%(folder)s/socket;
        %(locations)s
    }
}
"""
MODULES = """
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
"""
LOCATIONS = {
    "redis": """
        location ~ ^/(?<id>[^/]+)$ {
            content_by_lua_block {
                local redis = require("nginx.redis"):new()
                assert(redis:connect("%(host)s", %(port)d))
                redis:init_pipeline()
                redis:set("page:" .. ngx.var.id, "page " .. ngx.var.id)
                redis:incr("visits")
                redis:get("page:" .. ngx.var.id)
                local replies = assert(redis:commit_pipeline())
                assert(redis:set_keepalive(10000, 10))
                ngx.print(replies[3])
            }
        }
        """,
    "memcached": """
        location ~ ^/(?<id>[^/]+)$ {
            content_by_lua_block {
                local cache = require("nginx.memcached"):new()
                assert(cache:connect("%(host)s", %(port)d))
                assert(cache:set("page-" .. ngx.var.id, "page " .. ngx.var.id))
                if not cache:incr("visits", 1) then cache:add("visits", 1) end
                assert(cache:set_keepalive(10000, 10))
                return ngx.exec("/cache/" .. ngx.var.id)
            }
        }
        location ~ ^/cache/(?<id>.+)$ {
            internal;
            set $memcached_key page-$id;
            memcached_pass %(host)s:%(port)d;
        }
        """,
}


class Browser(http.client.HTTPConnection):
    """A connection to the unix socket of nginx."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def visit(path: str, visitor: int) -> None:
    """Request pages on one connection, each page twice."""
    browser = Browser(path)
    for number in range(VISITS // VISITORS):
        for _ in range(2):
            browser.request("GET", f"/{visitor}-{number}")
            response = browser.getresponse()
            body = response.read().decode()
            assert (response.status, body) == (200, f"page {visitor}-{number}"), (response.status, body)
    browser.close()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="nginx-") as folder:
        values = {"folder": folder, "modules": MODULES, "host": HOST, "port": PORT}
        configuration = Path(folder) / "nginx.conf"
        configuration.write_text(CONFIGURATION % {**values, "locations": LOCATIONS[KIND] % values})
        socket_path, log = Path(folder) / "socket", Path(folder) / "error.log"
        Path(folder).chmod(0o755)
        nginx = subprocess.Popen(["nginx", "-e", str(log), "-c", str(configuration)])
        try:
            while not socket_path.exists():
                assert nginx.poll() is None, "nginx has ended"
                time.sleep(0.01)
            with ThreadPoolExecutor(VISITORS) as threads:
                for visitor in [threads.submit(visit, str(socket_path), number) for number in range(VISITORS)]:
                    visitor.result()
        except BaseException:
            print(log.read_text() if log.exists() else "no error.log", file=sys.stderr)
            raise
        finally:
            nginx.terminate()
            nginx.wait(10)
    print(f"nginx with {KIND} has done its job")


main()
