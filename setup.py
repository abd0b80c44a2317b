"""The build of the compiled modules and of the program nutcracker; all other settings are in pyproject.toml."""

import multiprocessing
import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from sysconfig import get_config_var, get_path
from typing import ClassVar

from Cython.Build import cythonize
from setuptools import Command, Extension, setup

COMPILED = [
    "twemproxy.hashing.functions",
    "twemproxy.hashing.ring",
    "twemproxy.protocol.codec",
    "twemproxy.protocol.foreign",
    "twemproxy.protocol.memcache.classic_requests",
    "twemproxy.protocol.memcache.codec",
    "twemproxy.protocol.memcache.reply_parser",
    "twemproxy.protocol.memcache.request_parser",
    "twemproxy.protocol.name_table",
    "twemproxy.protocol.redis.codec",
    "twemproxy.protocol.redis.framing",
    "twemproxy.protocol.redis.glob",
    "twemproxy.protocol.redis.inline",
    "twemproxy.protocol.redis.subscription_messages",
    "twemproxy.protocol.request",
    "twemproxy.stats.counters",
    "twemproxy.stats.text",
    "twemproxy.process",
    "twemproxy.net.acceptor",
    "twemproxy.net.block",
    "twemproxy.net.clock",
    "twemproxy.net.event_loop",
    "twemproxy.net.poller",
    "twemproxy.net.send_queue",
    "twemproxy.net.stream",
    "twemproxy.net.timers",
    "twemproxy.net.transport",
    "twemproxy.downstream.announcement",
    "twemproxy.downstream.blocked_request",
    "twemproxy.downstream.client",
    "twemproxy.downstream.client_stream",
    "twemproxy.downstream.client_states",
    "twemproxy.downstream.drain",
    "twemproxy.downstream.handover",
    "twemproxy.upstream.internal_request",
    "twemproxy.upstream.fenced",
    "twemproxy.upstream.fences",
    "twemproxy.downstream.scatter",
    "twemproxy.upstream.measuring",
    "twemproxy.upstream.pipeline",
    "twemproxy.upstream.health",
    "twemproxy.upstream.health_states",
    "twemproxy.proxy.access_log",
    "twemproxy.proxy.pool_settings",
    "twemproxy.downstream.admission",
    "twemproxy.downstream.listener",
    "twemproxy.downstream.placement",
    "twemproxy.proxy.hot_keys",
    "twemproxy.proxy.memory_limit",
    "twemproxy.downstream.discard",
    "twemproxy.downstream.pieced_request",
    "twemproxy.downstream.plan_execution",
    "twemproxy.downstream.published",
    "twemproxy.worker.data_plane",
    "twemproxy.downstream.retryable",
    "twemproxy.downstream.reply_queue",
    "twemproxy.downstream.unwritten",
    "twemproxy.upstream.route_table",
    "twemproxy.upstream.connection_states",
    "twemproxy.upstream.roles",
    "twemproxy.proxy.state_table",
    "twemproxy.upstream.server",
    "twemproxy.upstream.server_connection",
    "twemproxy.upstream.server_pool",
    "twemproxy.upstream.server_stream",
    "twemproxy.downstream.shared_message",
    "twemproxy.proxy.reply_handler",
    "twemproxy.upstream.pubsub",
    "twemproxy.upstream.topics",
    "twemproxy.upstream.verdicts",
    "twemproxy.downstream.wrong_protocol",
]

# The module with the C function main of the program nutcracker.
LAUNCHER = "twemproxy.launcher"

COMPILE_FLAGS = [
    "-O2",
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

# Other ways to start a process than fork(2) would run this file again in each of them.
FORKS = multiprocessing.get_start_method() == "fork"
TRANSLATORS = min(len(os.sched_getaffinity(0)), 8) if FORKS else 0
"""How many modules are translated to C at a time; 0: one after the other in this process."""

sanitize = os.environ.get("TWEMPROXY_SANITIZE")
flags = [*COMPILE_FLAGS, f"-fsanitize={sanitize}", "-fno-omit-frame-pointer"] if sanitize else COMPILE_FLAGS

# The script that is installed as nutcracker if the program cannot be linked.
SCRIPT = """#!{interpreter}
import sys

sys.path[1:1] = {packages}
from twemproxy.cli import main

sys.exit(main())
"""


def translated(names, **options):
    """Return an Extension for each module, with its source translated to C; the largest first, as they take longest."""
    extensions = cythonize(
        [Extension(name, [f"src/{name.replace('.', '/')}.py"], **options) for name in names],
        build_dir="build/cython",
        include_path=["src"],
        annotate=bool(os.environ.get("TWEMPROXY_ANNOTATE")),
        compiler_directives=DIRECTIVES,
        nthreads=TRANSLATORS,
    )
    return sorted(extensions, key=lambda extension: os.path.getsize(extension.sources[0]), reverse=True)


def declare_counters():
    """Write the positions of the counters for compiled code, if they are not written yet; see stats/catalogue.py."""
    catalogue = runpy.run_path("src/twemproxy/stats/catalogue.py")
    lines = ["# Written by setup.py from stats/catalogue.py: change that.", ""]
    words_of_histogram = runpy.run_path("src/twemproxy/stats/histograms.py")["WORDS"]
    for scope in ("process", "pool", "server"):
        for kind in ("METRICS", "SHARED"):
            words = catalogue[f"{scope.upper()}_{kind}"]
            lines += [f"# Of a {scope}, {kind.lower()}.", "cdef enum:"]
            lines += [f"    {word.name.upper()} = {position}" for position, word in enumerate(words)] + [""]
    lines += ["# Command classes; words of a histogram, and where the histograms of a pool and of a server begin."]
    lines += ["cdef enum:"]
    lines += [f"    CLASS_{name.upper()} = {place}" for place, name in enumerate(catalogue["COMMAND_CLASSES"])]
    lines += [f"    HISTOGRAM_WORDS = {words_of_histogram}"]
    lines += [f"    {scope}_HISTOGRAMS = {len(catalogue[f'{scope}_METRICS'])}" for scope in ("POOL", "SERVER")] + [""]
    header = Path("src/twemproxy/stats/positions.pxd")
    text = "\n".join(lines)
    if not header.exists() or header.read_text() != text:
        header.write_text(text)


class BuildNutcracker(Command):
    """The command build_scripts: links the program nutcracker; if that fails, it writes a script instead."""

    user_options: ClassVar = [("build-dir=", "d", "directory for the program")]

    def initialize_options(self):
        self.build_dir = None

    def finalize_options(self):
        self.set_undefined_options("build", ("build_scripts", "build_dir"))

    def get_source_files(self):
        return self.distribution.scripts

    def run(self):
        self.mkpath(self.build_dir)
        program = Path(self.build_dir, "nutcracker")
        program.unlink(missing_ok=True)
        in_place = self.get_finalized_command("build_ext").inplace
        interpreter = sys.executable if in_place else os.path.realpath(sys.executable)
        packages = [os.path.abspath("src")] if in_place else []
        problem = link(program, interpreter, packages)
        if problem:
            print(f"warning: nutcracker becomes a Python script, since it could not be linked: {problem}")
            # pip replaces "python" with the path of the interpreter.
            program.write_text(SCRIPT.format(interpreter=interpreter if in_place else "python", packages=packages))
            program.chmod(0o755)


def link(program, interpreter, packages):
    """Link the program from LAUNCHER; returns an empty text, or the reason why it could not be linked.

    ``interpreter``, ``packages``: the constants INTERPRETER and PACKAGES of LAUNCHER, see its docstring.
    """
    problem = "there is no libpython"
    [launcher] = translated([LAUNCHER])
    for libpython in libpythons():
        command = [
            *shlex.split(os.environ.get("CC") or get_config_var("CC")),
            *[*COMPILE_FLAGS, *shlex.split(os.environ.get("CFLAGS", "")), f"-I{get_path('include')}"],
            *[f"-DINTERPRETER={c_string(interpreter)}", f"-DPACKAGES={c_string(ascii(packages))}"],
            *[*launcher.sources, "-o", str(program), *shlex.split(os.environ.get("LDFLAGS", "")), *libpython],
        ]
        try:
            result = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            return str(error)
        if result.returncode == 0:
            print(result.stderr, end="")
            return ""
        problem = result.stderr.strip() or f"{command[0]} ended with status {result.returncode}"
    return problem


def libpythons():
    """Return the possible linker arguments for libpython, the best first.

    The best ones link libpython in the form that this interpreter uses, shared or static. So the program starts
    wherever the interpreter does, even if no shared libpython is installed.
    """
    maps = Path("/proc/self/maps")
    mapped = {line.split()[-1] for line in maps.read_text().splitlines()} if maps.exists() else set()
    loaded = [path for path in mapped if os.path.basename(path).startswith("libpython")]
    folders = [get_config_var("LIBDIR"), f"{sys.base_prefix}/lib"]
    shared = [*loaded, *(os.path.join(folder, get_config_var("LDLIBRARY")) for folder in folders)]
    dynamic = [[path, f"-Wl,-rpath,{os.path.dirname(path)}"] for path in shared if os.path.exists(path)]
    archive = os.path.join(get_config_var("LIBPL"), get_config_var("LIBRARY"))
    # Extension modules look up Python's functions in the program. Debian's archive needs a program at a fixed address.
    names = ("LINKFORSHARED", "LIBS", "MODLIBS", "SYSLIBS")
    exporting = [archive, *(word for name in names for word in shlex.split(get_config_var(name) or ""))]
    static = [exporting, ["-no-pie", *exporting]] if os.path.exists(archive) else []
    return [*dynamic, *static] if loaded else [*static, *dynamic]


def c_string(text):
    """Return the text as a string literal of C."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


declare_counters()
setup(
    ext_modules=translated(
        COMPILED, extra_compile_args=flags, extra_link_args=[f"-fsanitize={sanitize}"] if sanitize else []
    ),
    scripts=["src/twemproxy/launcher.py"],
    cmdclass={"build_scripts": BuildNutcracker},
)
