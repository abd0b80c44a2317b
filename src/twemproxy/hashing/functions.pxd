# Numbers of the hash functions: positions in twemproxy.hashing.HASHES.
cdef enum Hash:
    ONE_AT_A_TIME = 0
    MD5 = 1
    CRC16 = 2
    CRC32 = 3
    CRC32A = 4
    FNV1_64 = 5
    FNV1A_64 = 6
    FNV1_32 = 7
    FNV1A_32 = 8
    HSIEH = 9
    MURMUR = 10
    JENKINS = 11

ctypedef unsigned int[16] Words

cdef unsigned int[256] CRC16_TABLE
cdef unsigned int[256] CRC32_TABLE
cdef unsigned int[64] MD5_SINES

cdef unsigned int hash_key(int function, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
