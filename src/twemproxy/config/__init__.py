"""The configuration file: what may stand in nutcracker.yml, and the pools it describes."""
