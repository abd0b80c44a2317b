"""The hash functions for keys.

Dual: sans-IO, the interpreter runs the same code over ``bytes``. All results and all arithmetic are unsigned 32-bit.
Some functions take bytes as signed 8-bit values or leave out a mask that the original function has: keys must stay on
the servers where nutcracker put them, so these are nutcracker's definitions, not the textbook's.
"""

import math

import cython

from twemproxy.hashing import HASHES

if not cython.compiled:
    Words = list[int]
    (
        ONE_AT_A_TIME,
        MD5,
        CRC16,
        CRC32,
        CRC32A,
        FNV1_64,
        FNV1A_64,
        FNV1_32,
        FNV1A_32,
        HSIEH,
        MURMUR,
        JENKINS,
    ) = range(12)
    CRC16_TABLE = [0] * 256
    CRC32_TABLE = [0] * 256
    MD5_SINES = [0] * 64

MASK = cython.declare(cython.const[cython.uint], 0xFFFFFFFF)

# The 64-bit basis and prime of FNV, cut to their low halves: the high halves have no effect on the low half of a
# product.
FNV_64_BASIS = cython.declare(cython.const[cython.uint], 0x84222325)
FNV_64_PRIME = cython.declare(cython.const[cython.uint], 0x1B3)
FNV_32_BASIS = cython.declare(cython.const[cython.uint], 2166136261)
FNV_32_PRIME = cython.declare(cython.const[cython.uint], 16777619)

MD5_END = cython.declare(cython.const[cython.uint], 0x80)
CRC16_POLYNOMIAL = cython.declare(cython.const[cython.uint], 0x1021)
CRC32_POLYNOMIAL = cython.declare(cython.const[cython.uint], 0xEDB88320)
MURMUR_FACTOR = cython.declare(cython.const[cython.uint], 0x5BD1E995)
MURMUR_SEED = cython.declare(cython.const[cython.uint], 0xDEADBEEF)
JENKINS_SEED = cython.declare(cython.const[cython.uint], 0xDEADBEEF + 13)


@cython.cfunc
def fill_tables() -> cython.void:
    """Compute the tables: one CRC step per byte value (bit by bit), and MD5's constants (RFC 1321, 3.4)."""
    byte: cython.int
    msb_first: cython.uint
    lsb_first: cython.uint
    for byte in range(256):
        msb_first = byte << 8
        lsb_first = byte
        for _ in range(8):
            msb_first = (msb_first << 1) ^ (CRC16_POLYNOMIAL if msb_first & 0x8000 else 0)
            lsb_first = (lsb_first >> 1) ^ (CRC32_POLYNOMIAL if lsb_first & 1 else 0)
        CRC16_TABLE[byte] = msb_first & 0xFFFF
        CRC32_TABLE[byte] = lsb_first
    for byte in range(64):
        MD5_SINES[byte] = int(abs(math.sin(byte + 1)) * 4294967296)


fill_tables()


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def signed(byte: cython.uchar) -> cython.uint:
    """A byte taken as signed and extended to 32 bits."""
    return ((byte ^ 0x80) - 0x80) & MASK


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def rotated(value: cython.uint, bits: cython.int) -> cython.uint:
    """The low 32 bits of ``value`` rotated left by 1 to 31 bits."""
    value = value & MASK
    return ((value << bits) | (value >> (32 - bits))) & MASK


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def word(buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.uint:
    """The little-endian 32-bit word at ``at``; bytes from ``end`` on count as 0."""
    value: cython.uint = 0
    i: cython.Py_ssize_t
    if at + 4 <= end:
        value = buf[at + 3]
        value = (value << 8) | buf[at + 2]
        value = (value << 8) | buf[at + 1]
        return (value << 8) | buf[at]
    i = end
    while i > at:
        i -= 1
        value = (value << 8) | buf[i]
    return value


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def half_word(buf: cython.pointer[cython.const[cython.uchar]], at: cython.Py_ssize_t) -> cython.uint:
    """The little-endian 16-bit value at ``at``."""
    value: cython.uint = buf[at + 1]
    return (value << 8) | buf[at]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def one_at_a_time(
    buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.uint:
    value: cython.uint = 0
    i: cython.Py_ssize_t
    for i in range(start, end):
        value = (value + signed(buf[i])) & MASK
        value = (value + (value << 10)) & MASK
        value ^= value >> 6
    value = (value + (value << 3)) & MASK
    value ^= value >> 11
    return (value + (value << 15)) & MASK


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def md5_step(a: cython.uint, b: cython.uint, mixed: cython.uint, addend: cython.uint, bits: cython.int) -> cython.uint:
    """One of the 64 steps. ``mixed``: the round's function of b, c and d; ``addend``: the word plus the sine."""
    return (b + rotated(a + mixed + addend, bits)) & MASK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def md5(
    buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.uint:
    """The first word of the MD5 digest (RFC 1321), little-endian."""
    a0: cython.uint = 0x67452301
    b0: cython.uint = 0xEFCDAB89
    c0: cython.uint = 0x98BADCFE
    d0: cython.uint = 0x10325476
    a: cython.uint
    b: cython.uint
    c: cython.uint
    d: cython.uint
    i: cython.int
    block: cython.Py_ssize_t = start
    bits: cython.ulonglong = (end - start) * 8
    words: Words
    if not cython.compiled:
        words = [0] * 16
    # The message, a byte 0x80, zeros and the 8-byte length, in blocks of 64 bytes.
    while block <= end + 8:
        for i in range(16):
            words[i] = word(buf, block + 4 * i, end)
        if block <= end < block + 64:
            words[(end - block) >> 2] |= MD5_END << (8 * ((end - block) & 3))
        if end + 9 <= block + 64:
            words[14] = bits & MASK
            words[15] = bits >> 32
        a, b, c, d = a0, b0, c0, d0
        for i in range(0, 16, 4):
            a = md5_step(a, b, d ^ (b & (c ^ d)), MD5_SINES[i] + words[i], 7)
            d = md5_step(d, a, c ^ (a & (b ^ c)), MD5_SINES[i + 1] + words[i + 1], 12)
            c = md5_step(c, d, b ^ (d & (a ^ b)), MD5_SINES[i + 2] + words[i + 2], 17)
            b = md5_step(b, c, a ^ (c & (d ^ a)), MD5_SINES[i + 3] + words[i + 3], 22)
        for i in range(16, 32, 4):
            a = md5_step(a, b, c ^ (d & (b ^ c)), MD5_SINES[i] + words[(5 * i + 1) & 15], 5)
            d = md5_step(d, a, b ^ (c & (a ^ b)), MD5_SINES[i + 1] + words[(5 * i + 6) & 15], 9)
            c = md5_step(c, d, a ^ (b & (d ^ a)), MD5_SINES[i + 2] + words[(5 * i + 11) & 15], 14)
            b = md5_step(b, c, d ^ (a & (c ^ d)), MD5_SINES[i + 3] + words[(5 * i) & 15], 20)
        for i in range(32, 48, 4):
            a = md5_step(a, b, b ^ c ^ d, MD5_SINES[i] + words[(3 * i + 5) & 15], 4)
            d = md5_step(d, a, a ^ b ^ c, MD5_SINES[i + 1] + words[(3 * i + 8) & 15], 11)
            c = md5_step(c, d, d ^ a ^ b, MD5_SINES[i + 2] + words[(3 * i + 11) & 15], 16)
            b = md5_step(b, c, c ^ d ^ a, MD5_SINES[i + 3] + words[(3 * i + 14) & 15], 23)
        for i in range(48, 64, 4):
            a = md5_step(a, b, c ^ (b | (d ^ MASK)), MD5_SINES[i] + words[(7 * i) & 15], 6)
            d = md5_step(d, a, b ^ (a | (c ^ MASK)), MD5_SINES[i + 1] + words[(7 * i + 7) & 15], 10)
            c = md5_step(c, d, a ^ (d | (b ^ MASK)), MD5_SINES[i + 2] + words[(7 * i + 14) & 15], 15)
            b = md5_step(b, c, d ^ (c | (a ^ MASK)), MD5_SINES[i + 3] + words[(7 * i + 5) & 15], 21)
        a0 = (a0 + a) & MASK
        b0 = (b0 + b) & MASK
        c0 = (c0 + c) & MASK
        d0 = (d0 + d) & MASK
        block += 64
    return a0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def crc16(
    buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.uint:
    """The steps of XMODEM's CRC on a 32-bit register that is never cut to 16 bits."""
    value: cython.uint = 0
    i: cython.Py_ssize_t
    for i in range(start, end):
        value = ((value << 8) ^ CRC16_TABLE[((value >> 8) ^ buf[i]) & 0xFF]) & MASK
    return value


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def crc32a(
    buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.uint:
    """The CRC-32 of zlib and Ethernet."""
    value: cython.uint = MASK
    i: cython.Py_ssize_t
    for i in range(start, end):
        value = (value >> 8) ^ CRC32_TABLE[(value ^ buf[i]) & 0xFF]
    return value ^ MASK


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def fnv1(
    buf: cython.pointer[cython.const[cython.uchar]],
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
    basis: cython.uint,
    prime: cython.uint,
) -> cython.uint:
    value: cython.uint = basis
    i: cython.Py_ssize_t
    for i in range(start, end):
        value = ((value * prime) & MASK) ^ signed(buf[i])
    return value


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def fnv1a(
    buf: cython.pointer[cython.const[cython.uchar]],
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
    basis: cython.uint,
    prime: cython.uint,
) -> cython.uint:
    value: cython.uint = basis
    i: cython.Py_ssize_t
    for i in range(start, end):
        value = ((value ^ signed(buf[i])) * prime) & MASK
    return value


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def hsieh(
    buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.uint:
    """Hsieh's SuperFastHash, started from 0."""
    value: cython.uint = 0
    i: cython.Py_ssize_t = start
    while i + 4 <= end:
        value = (value + half_word(buf, i)) & MASK
        value = ((value << 16) ^ (half_word(buf, i + 2) << 11) ^ value) & MASK
        value = (value + (value >> 11)) & MASK
        i += 4
    if end - i == 3:
        value = (value + half_word(buf, i)) & MASK
        value ^= (value << 16) & MASK
        value ^= (signed(buf[i + 2]) << 18) & MASK
        value = (value + (value >> 11)) & MASK
    elif end - i == 2:
        value = (value + half_word(buf, i)) & MASK
        value ^= (value << 11) & MASK
        value = (value + (value >> 17)) & MASK
    elif end - i == 1:
        value = (value + buf[i]) & MASK
        value ^= (value << 10) & MASK
        value = (value + (value >> 1)) & MASK
    value ^= (value << 3) & MASK
    value = (value + (value >> 5)) & MASK
    value ^= (value << 4) & MASK
    value = (value + (value >> 17)) & MASK
    value ^= (value << 25) & MASK
    return (value + (value >> 6)) & MASK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def murmur(
    buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.uint:
    """MurmurHash2 with a seed that grows with the key's length."""
    length: cython.uint = (end - start) & MASK
    value: cython.uint = ((MURMUR_SEED * length) & MASK) ^ length
    part: cython.uint
    i: cython.Py_ssize_t = start
    while i + 4 <= end:
        part = (word(buf, i, end) * MURMUR_FACTOR) & MASK
        part = ((part ^ (part >> 24)) * MURMUR_FACTOR) & MASK
        value = ((value * MURMUR_FACTOR) & MASK) ^ part
        i += 4
    if i < end:
        value = ((value ^ word(buf, i, end)) * MURMUR_FACTOR) & MASK
    value = ((value ^ (value >> 13)) * MURMUR_FACTOR) & MASK
    return value ^ (value >> 15)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def jenkins(
    buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.uint:
    """Jenkins' lookup3 (hashlittle) with an initial value of 13."""
    a: cython.uint = (JENKINS_SEED + ((end - start) & MASK)) & MASK
    b: cython.uint = a
    c: cython.uint = a
    i: cython.Py_ssize_t = start
    if start == end:
        return c
    while end - i > 12:
        a = (a + word(buf, i, end)) & MASK
        b = (b + word(buf, i + 4, end)) & MASK
        c = (c + word(buf, i + 8, end)) & MASK
        a = ((a - c) & MASK) ^ rotated(c, 4)
        c = (c + b) & MASK
        b = ((b - a) & MASK) ^ rotated(a, 6)
        a = (a + c) & MASK
        c = ((c - b) & MASK) ^ rotated(b, 8)
        b = (b + a) & MASK
        a = ((a - c) & MASK) ^ rotated(c, 16)
        c = (c + b) & MASK
        b = ((b - a) & MASK) ^ rotated(a, 19)
        a = (a + c) & MASK
        c = ((c - b) & MASK) ^ rotated(b, 4)
        b = (b + a) & MASK
        i += 12
    a = (a + word(buf, i, end)) & MASK
    b = (b + word(buf, i + 4, end)) & MASK
    c = (c + word(buf, i + 8, end)) & MASK
    c = ((c ^ b) - rotated(b, 14)) & MASK
    a = ((a ^ c) - rotated(c, 11)) & MASK
    b = ((b ^ a) - rotated(a, 25)) & MASK
    c = ((c ^ b) - rotated(b, 16)) & MASK
    a = ((a ^ c) - rotated(c, 4)) & MASK
    b = ((b ^ a) - rotated(a, 14)) & MASK
    return ((c ^ b) - rotated(b, 24)) & MASK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def hash_key(
    function: cython.int,
    buf: cython.pointer[cython.const[cython.uchar]],
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> cython.uint:
    """The hash of the key ``buf[start:end]``; ``function`` is a position in ``HASHES``."""
    if function == FNV1A_64:
        return fnv1a(buf, start, end, FNV_64_BASIS, FNV_64_PRIME)
    elif function == ONE_AT_A_TIME:
        return one_at_a_time(buf, start, end)
    elif function == MD5:
        return md5(buf, start, end)
    elif function == CRC16:
        return crc16(buf, start, end)
    elif function == CRC32:
        return (crc32a(buf, start, end) >> 16) & 0x7FFF
    elif function == CRC32A:
        return crc32a(buf, start, end)
    elif function == FNV1_64:
        return fnv1(buf, start, end, FNV_64_BASIS, FNV_64_PRIME)
    elif function == FNV1_32:
        return fnv1(buf, start, end, FNV_32_BASIS, FNV_32_PRIME)
    elif function == FNV1A_32:
        return fnv1a(buf, start, end, FNV_32_BASIS, FNV_32_PRIME)
    elif function == HSIEH:
        return hsieh(buf, start, end)
    elif function == MURMUR:
        return murmur(buf, start, end)
    else:
        return jenkins(buf, start, end)


def hash_bytes(name: str, key: bytes) -> int:
    """The hash of ``key`` by the function of this name, 0 to 2**32 - 1; ValueError for an unknown name."""
    return hash_key(HASHES.index(name), key, 0, len(key))
