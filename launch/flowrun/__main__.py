"""``python -m flowrun`` is the command ``flowrun``."""

import sys

from flowrun.cli import main

if __name__ == "__main__":
    sys.exit(main())
