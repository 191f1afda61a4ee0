"""Run the command `toolweaver-monitor` as `python -m toolweaver_monitor`."""

import sys

from toolweaver_monitor._cli import main

if __name__ == "__main__":
    sys.exit(main())
