"""The options of the demo, with their help."""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

NOTHING_READ, BUDGET_SPENT, INTERRUPTED = 1, 3, 130
OUTPUT = Path(__file__).with_name("output")

AFTERWORD = """\
Receipt 2 is a damaged file and the total of receipt 3 is wrong: a tool fails on each, and the reports show how.

exit codes:
  0    it worked, the failures that belong to the demo included
  1    no receipt could be read
  2    an option that cannot be used
  3    the budget was spent before all receipts were read
  130  interrupted
"""


def options_from(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line; exit with 2 if it cannot be used."""
    parser = ArgumentParser(
        "python -m examples.receipts",
        description="Reads receipts with a real OCR engine while toolweaver_monitor watches every tool.",
        epilog=AFTERWORD,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--receipts", type=_count, default=12, metavar="N", help="how many to read (12)")
    parser.add_argument("--budget", type=_dollars, metavar="USD", help="what it may cost in all; a receipt takes $0.17")
    parser.add_argument(
        "--port", type=_port, help="where the page and /metrics are served; 0 takes a free one (8000, or a free one)"
    )
    parser.add_argument("--keep", action="store_true", help="go on serving the page until Enter or Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the report")
    parser.add_argument(
        "--output",
        type=Path,
        default=OUTPUT,
        metavar="DIR",
        help="where images, the store, the page and the W&B run go",
    )
    return parser.parse_args(argv)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000:
        raise ArgumentTypeError(f"{text!r} is not a number of receipts; give 1 to 1000")
    return int(text)


def _dollars(text: str) -> float:
    try:
        dollars = float(text)
    except ValueError:
        dollars = math.nan
    if not (dollars == 0 or 1e-9 <= dollars <= 1e6):
        raise ArgumentTypeError(f"{text!r} is no budget; give dollars from 0 up, such as 0.50")
    return dollars


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise ArgumentTypeError(f"{text!r} is not a port; give 0 to 65535")
    return int(text)
