"""``python -m twemproxy.demo`` is the demonstration."""

import sys

from twemproxy.demo.command import main

if __name__ == "__main__":
    sys.exit(main())
