# Atomic operations of the compiler, see "Built-in Functions for Memory Model Aware Atomic Operations" in GCC's manual.
# ``order``: ATOMIC_SEQ_CST, so that all processes see one order of all operations.
cdef extern from * nogil:
    int ATOMIC_SEQ_CST "__ATOMIC_SEQ_CST"
    unsigned long long atomic_load "__atomic_load_n"(unsigned long long* word, int order)
    unsigned long long atomic_add "__atomic_add_fetch"(unsigned long long* word, unsigned long long n, int order)
    bint atomic_exchange "__atomic_compare_exchange_n"(
        unsigned long long* word,
        unsigned long long* expected,
        unsigned long long desired,
        bint weak,
        int success_order,
        int failure_order,
    )
    void atomic_fence "__atomic_thread_fence"(int order)
