"""``python -m flowdata`` is the command ``flowdata``."""

import sys

from flowdata.cli import main

if __name__ == "__main__":
    sys.exit(main())
