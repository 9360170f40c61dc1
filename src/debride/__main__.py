"""``python -m debride``."""

import sys

from debride.cli import main

if __name__ == "__main__":
    sys.exit(main())
