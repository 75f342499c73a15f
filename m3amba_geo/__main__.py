"""`python -m m3amba_geo`: the same as the command `m3amba-geo`."""

import sys

from m3amba_geo.cli import main

if __name__ == "__main__":
    sys.exit(main())
