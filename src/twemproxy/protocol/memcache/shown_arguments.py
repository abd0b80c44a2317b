"""The arguments of a request for the slow log, of which only the first bytes are kept. Plain Python."""

CUT = b"..."


def shown_arguments(head: bytes) -> list[bytes]:
    """The words of the line in the first bytes of a request, without a value; the last one ends in CUT if cut."""
    line, newline, _ = head.partition(b"\n")
    words = line.split()
    if not newline and words:
        words[-1] += CUT
    return words
