"""The list of compiled modules and the rules they are compiled by; everything else is in pyproject.toml."""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

COMPILED = [
    "twemproxy.hashing.functions",
    "twemproxy.hashing.continuum",
    "twemproxy.protocol.codec",
    "twemproxy.protocol.memcache.classic_requests",
    "twemproxy.protocol.memcache.codec",
    "twemproxy.protocol.memcache.replies",
    "twemproxy.protocol.memcache.requests",
    "twemproxy.protocol.name_table",
    "twemproxy.protocol.redis.codec",
    "twemproxy.protocol.redis.framing",
    "twemproxy.stats.counters",
    "twemproxy.net.block",
    "twemproxy.net.event_loop",
    "twemproxy.net.send_queue",
    "twemproxy.net.stream",
    "twemproxy.proxy.client",
    "twemproxy.proxy.errand",
    "twemproxy.proxy.fragment",
    "twemproxy.proxy.in_flight",
    "twemproxy.proxy.limits",
    "twemproxy.proxy.listener",
    "twemproxy.proxy.memory_limit",
    "twemproxy.proxy.oversize",
    "twemproxy.proxy.planned",
    "twemproxy.proxy.reactor",
    "twemproxy.proxy.repairable",
    "twemproxy.proxy.reply_queue",
    "twemproxy.proxy.rotation",
    "twemproxy.proxy.server_connection",
    "twemproxy.proxy.server_pool",
    "twemproxy.proxy.server_stream",
    "twemproxy.proxy.shared_message",
    "twemproxy.proxy.sink",
]

COMPILE_FLAGS = [
    "-O3",
    "-g1",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    "-Wno-missing-field-initializers",
    "-Wno-unused-function",
]

DIRECTIVES = {
    "language_level": "3",
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "auto_pickle": False,
    "freethreading_compatible": True,
}

sanitize = os.environ.get("TWEMPROXY_SANITIZE")
flags = [*COMPILE_FLAGS, f"-fsanitize={sanitize}", "-fno-omit-frame-pointer"] if sanitize else COMPILE_FLAGS

setup(
    ext_modules=cythonize(
        [
            Extension(
                name,
                [f"src/{name.replace('.', '/')}.py"],
                extra_compile_args=flags,
                extra_link_args=[f"-fsanitize={sanitize}"] if sanitize else [],
            )
            for name in COMPILED
        ],
        build_dir="build/cython",
        include_path=["src"],
        annotate=bool(os.environ.get("TWEMPROXY_ANNOTATE")),
        compiler_directives=DIRECTIVES,
    ),
)
