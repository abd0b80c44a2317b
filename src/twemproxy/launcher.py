"""The program ``nutcracker``: a C function ``main`` that runs this package in a Python interpreter inside its process.

Compiled-only, and linked with libpython by ``setup.py build_scripts``. So ``/proc/PID/exe`` is a program with this
name, and variables for Python (PYTHONPATH, PYTHONHOME, ...) have no effect. If argv[0] begins with
``nutcracker: worker ``, the program runs a worker, if it is ``nutcracker: fork server`` the fork server, otherwise the
command.

``setup.py`` defines two constants. INTERPRETER is the path of the Python with which the program was built. PACKAGES is
a Python literal: a list of folders that contain this package, empty unless the program belongs to a source tree.

``main`` runs before there is an interpreter, so nothing in this module may use a Python object.
"""

import cython
from cython.cimports.libc.stdio import fprintf, snprintf, stderr
from cython.cimports.libc.string import strcmp, strncmp, strrchr
from cython.cimports.posix.stdlib import unsetenv
from cython.cimports.posix.unistd import F_OK, X_OK, access, readlink
from cython.cimports.twemproxy.libc.process import PR_SET_NAME, prctl
from cython.cimports.twemproxy.libc.python import (
    PY_MAJOR_VERSION,
    PY_MINOR_VERSION,
    Py_InitializeFromConfig,
    Py_PreInitialize,
    Py_RunMain,
    PyConfig,
    PyConfig_InitIsolatedConfig,
    PyConfig_SetBytesArgv,
    PyConfig_SetBytesString,
    PyPreConfig,
    PyPreConfig_InitIsolatedConfig,
    PyStatus,
    PyStatus_Exception,
)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def main(argc: cython.int, argv: cython.p_p_char) -> cython.int:
    """Run the command, the fork server or a worker; returns the exit status."""
    name: cython.char[16]
    # Not the name of the supervisor, so that "pidof nutcracker" finds one process, as with nutcracker 0.5.0.
    if argc > 0 and strncmp(argv[0], b"nutcracker: worker ", 19) == 0:
        snprintf(name, 16, b"nutcracker-w%s", argv[0] + 19)
        prctl(PR_SET_NAME, cython.cast(cython.p_char, name))
        return run(argc, argv, b"twemproxy.worker.main", b"")
    if argc > 0 and strcmp(argv[0], b"nutcracker: fork server") == 0:
        prctl(PR_SET_NAME, b"nutcracker-fork")
        return run(argc, argv, b"twemproxy.worker.fork_server", b"")
    return run(argc, argv, b"twemproxy.cli", b"native=True")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def run(
    argc: cython.int, argv: cython.p_p_char, module: cython.p_const_char, arguments: cython.p_const_char
) -> cython.int:
    """Call ``main`` of the Python module; returns the exit status. ``arguments``: of this call, in Python syntax."""
    interpreter: cython.char[4096]
    program: cython.char[8192]
    if not find_interpreter(interpreter):
        fprintf(
            stderr,
            b"nutcracker: there is no Python %d.%d at %s or beside this program: install twemproxy again\n",
            PY_MAJOR_VERSION,
            PY_MINOR_VERSION,
            INTERPRETER,
        )
        return 1
    # pip --user and --prefix install packages beside the program, where this Python may not search for them.
    snprintf(
        program,
        8192,
        b"import gc, os, sys\n"
        # Nearly all objects that imports make live as long as the process: the garbage collector need not see them.
        b"gc.disable()\n"
        # msgspec imports it if it is there, and needs nothing of it: it takes 1 MB and a hundredth of a second.
        b"sys.modules['typing_extensions'] = None\n"
        b"folder = os.path.dirname(os.path.dirname(os.readlink('/proc/self/exe')))\n"
        b"beside = f'{folder}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages'\n"
        b"for packages in (*%s, beside):\n"
        b"    if packages not in sys.path and os.path.isdir(packages + '/twemproxy'):\n"
        b"        sys.path.insert(3, packages)\n"
        b"try:\n"
        b"    from %s import main\n"
        b"except ImportError as error:\n"
        b"    sys.exit(f'nutcracker: {error}: install twemproxy again with {sys.executable}')\n"
        b"gc.freeze()\n"
        b"gc.enable()\n"
        b"sys.exit(main(%s))\n",
        PACKAGES,
        module,
        arguments,
    )
    status: PyStatus = start(argc, argv, interpreter, program)
    if PyStatus_Exception(status):
        fprintf(
            stderr,
            b"nutcracker: the Python of %s does not start (%s): install twemproxy again\n",
            cython.cast(cython.p_char, interpreter),
            status.err_msg,
        )
        return 1
    return Py_RunMain()


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def start(
    argc: cython.int, argv: cython.p_p_char, interpreter: cython.p_const_char, program: cython.p_const_char
) -> PyStatus:
    """Start a Python that ignores the environment; ``Py_RunMain`` will run ``program``, a Python text, in it.

    ``interpreter``: the path of the Python whose standard library and packages are used.
    """
    preparation: PyPreConfig
    config: PyConfig
    # Python reads these two variables even with an isolated configuration.
    unsetenv(b"PYTHONEXECUTABLE")
    unsetenv(b"__PYVENV_LAUNCHER__")
    PyPreConfig_InitIsolatedConfig(cython.address(preparation))
    # File names and log lines are UTF-8 in every locale; bytes that are not UTF-8 pass unchanged.
    preparation.utf8_mode = 1
    status: PyStatus = Py_PreInitialize(cython.address(preparation))
    if PyStatus_Exception(status):
        return status
    PyConfig_InitIsolatedConfig(cython.address(config))
    status = PyConfig_SetBytesArgv(cython.address(config), argc, argv)
    if PyStatus_Exception(status):
        return status
    status = PyConfig_SetBytesString(cython.address(config), cython.address(config.executable), interpreter)
    if PyStatus_Exception(status):
        return status
    status = PyConfig_SetBytesString(cython.address(config), cython.address(config.run_command), program)
    if PyStatus_Exception(status):
        return status
    return Py_InitializeFromConfig(cython.address(config))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def find_interpreter(path: cython.p_char) -> cython.bint:
    """Write the path of the Python whose packages are used to ``path``, of 4096 bytes; returns whether there is one.

    It is the Python of the virtual environment that contains the program, or else INTERPRETER, or else the Python in
    the folder of the program.
    """
    folder: cython.char[3072]
    length: cython.Py_ssize_t = readlink(b"/proc/self/exe", folder, 3071)
    if length <= 0:
        return False
    folder[length] = 0
    strrchr(folder, ord(b"/"))[0] = 0
    snprintf(path, 4096, b"%s/../pyvenv.cfg", cython.cast(cython.p_char, folder))
    in_environment: cython.bint = access(path, F_OK) == 0
    snprintf(path, 4096, b"%s", INTERPRETER)
    if access(path, X_OK) == 0 and not in_environment:
        return True
    snprintf(path, 4096, b"%s/python%d.%d", cython.cast(cython.p_char, folder), PY_MAJOR_VERSION, PY_MINOR_VERSION)
    return in_environment or access(path, X_OK) == 0
