"""How sub-commands write times, sizes and tables for people."""

import time


def time_text(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as local date and time with the offset from UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))
