"""The configuration file: the syntax and directives of nutcracker.yml, and the pools that it describes."""
