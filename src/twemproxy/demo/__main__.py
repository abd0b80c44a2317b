"""``python -m twemproxy.demo`` runs the demonstration."""

import sys

from twemproxy.demo.command import main

if __name__ == "__main__":
    sys.exit(main())
