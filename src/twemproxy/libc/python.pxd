# CPython's <Python.h>: starting an interpreter from a program of its own; see PEP 587. Cython ships no declarations for it.
cdef extern from "Python.h" nogil:
    const char* PY_VERSION
    int PY_MAJOR_VERSION, PY_MINOR_VERSION
    ctypedef int wchar_t

    ctypedef struct PyStatus:
        const char* err_msg

    ctypedef struct PyPreConfig:
        int utf8_mode

    ctypedef struct PyConfig:
        wchar_t* executable
        wchar_t* program_name
        wchar_t* pythonpath_env
        wchar_t* run_command

    int PyStatus_Exception(PyStatus status)
    void PyPreConfig_InitIsolatedConfig(PyPreConfig* config)
    PyStatus Py_PreInitialize(const PyPreConfig* config)
    void PyConfig_InitIsolatedConfig(PyConfig* config)
    PyStatus PyConfig_SetBytesString(PyConfig* config, wchar_t** field, const char* text)
    PyStatus PyConfig_SetBytesArgv(PyConfig* config, Py_ssize_t count, char** arguments)
    PyStatus Py_InitializeFromConfig(const PyConfig* config)
    int Py_RunMain()
