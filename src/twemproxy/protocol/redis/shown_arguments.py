"""The arguments of a request for the slow log, of which only the first bytes are kept. Plain Python."""

SECRET = frozenset((b"auth", b"hello"))
"""Commands whose arguments are never shown."""
CUT = b"..."


def shown_arguments(head: bytes) -> list[bytes]:
    """The arguments in the first bytes of a request; the last one ends in CUT if something is left out."""
    at = head.find(b"\r\n") + 2
    count = _number(head[1 : at - 2]) if head.startswith(b"*") and at > 1 else 0
    arguments: list[bytes] = []
    while len(arguments) < count:
        end = head.find(b"\r\n", at)
        length = _number(head[at + 1 : end]) if end >= 0 and head[at : at + 1] == b"$" else -1
        if length < 0:
            break
        argument = head[end + 2 : end + 2 + length]
        if len(argument) < length:
            arguments.append(argument + CUT)
            break
        arguments.append(argument)
        at = end + 2 + length + 2
    else:
        return _without_secrets(arguments)
    if not arguments:
        return []
    if not arguments[-1].endswith(CUT):
        arguments.append(CUT)
    return _without_secrets(arguments)


def _number(digits: bytes) -> int:
    return int(digits) if digits.isdigit() else -1


def _without_secrets(arguments: list[bytes]) -> list[bytes]:
    if arguments and arguments[0].lower() in SECRET:
        return [arguments[0], CUT]
    return arguments
