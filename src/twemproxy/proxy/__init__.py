"""What clients and servers share: settings and log of a pool, the limit of memory, tables of states."""
