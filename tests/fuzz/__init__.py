"""Fuzzing: parsers with inputs chosen by coverage, and a running proxy with streams from clients and servers.

The fuzzers check the same as the unit tests of the parsers, and share modules with them; PYTHONPATH is ``src:tests``.
"""

import sys
from pathlib import Path

_UNIT = Path(__file__).parents[1] / "unit" / "protocol"

for _folder in (_UNIT, _UNIT / "redis", _UNIT / "memcache"):
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))
