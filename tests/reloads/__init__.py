"""A load that verifies every reply while the configuration of the proxy is reloaded, see ``python -m reloads.run``."""
