"""What the supervisor's parts raise when the proxy cannot be started."""


class StartError(Exception):
    """The proxy cannot start; the text is the reason, one line for the operator."""
