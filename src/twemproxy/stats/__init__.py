"""Statistics: the catalogue of counters, the shared memory they live in, and snapshots of it."""
