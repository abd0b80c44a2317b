from twemproxy.libc.python cimport PyStatus


cdef extern from *:
    # Defined on the compiler's command line by setup.py.
    const char* INTERPRETER
    const char* PACKAGES


cdef public int main(int argc, char** argv) noexcept nogil
cdef int run(int argc, char** argv, const char* module, const char* arguments) noexcept nogil
cdef PyStatus start(int argc, char** argv, const char* interpreter, const char* program) noexcept nogil
cdef bint find_interpreter(char* path) noexcept nogil
