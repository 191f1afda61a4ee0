"""What does `python -m toolweaver_monitor` do? The same as the command `toolweaver-monitor`."""

import sys

from toolweaver_monitor._cli import main

if __name__ == "__main__":
    sys.exit(main())
