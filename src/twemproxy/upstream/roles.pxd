cpdef enum Role:
    SHARED
    PRIVATE
    SUBSCRIBER
    PROBE

# A row of ROLES.
cdef struct Policy:
    bint independent
    bint counts
    bint stands_in
    bint patient
    bint limited

cdef Policy policy_of(Role role) noexcept
