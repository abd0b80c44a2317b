"""Fuzzing: parsers with inputs grown by coverage, and a running proxy with streams from clients and servers.

The fuzzers hold parsers to what their unit tests do, with the modules those share; PYTHONPATH is ``src:tests``.
"""

import sys
from pathlib import Path

_UNIT = Path(__file__).parents[1] / "unit" / "protocol"

for _folder in (_UNIT, _UNIT / "redis", _UNIT / "memcache"):
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))
