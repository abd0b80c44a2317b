"""Statistics: the catalogue of counters, the shared memory that contains them, and snapshots of this memory."""
