"""The exceptions of the supervisor for a proxy that cannot start."""


class StartError(Exception):
    """The proxy cannot start. The text is the reason, in one line for the operator."""
