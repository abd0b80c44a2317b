"""Finds the server of a key: hash functions, and the ring in which hash values are looked up."""

HASHES = (
    "one_at_a_time",
    "md5",
    "crc16",
    "crc32",
    "crc32a",
    "fnv1_64",
    "fnv1a_64",
    "fnv1_32",
    "fnv1a_32",
    "hsieh",
    "murmur",
    "jenkins",
)
"""Names of the hash functions; a function's number is its position here."""

DISTRIBUTIONS = ("ketama", "modula", "random")
"""Names of the distributions of hash values over servers."""
