"""``python -m twemproxy`` is the ``nutcracker`` command."""

import sys

from twemproxy.cli import main

if __name__ == "__main__":
    sys.exit(main())
