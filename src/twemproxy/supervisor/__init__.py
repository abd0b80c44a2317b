"""The first process: owns the listening sockets, the workers, the statistics, the signals and the end."""
