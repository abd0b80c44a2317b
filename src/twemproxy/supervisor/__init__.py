"""The supervisor process: it opens sockets, runs workers, serves statistics, and handles signals and the exit."""
