"""`python -m examples.receipts`: the demo, if all that it needs is installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from examples.receipts.options import INTERRUPTED, NOTHING_READ, options_from


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit code."""
    options = options_from(argv)
    missing = [name for name in ("PIL", "onnxruntime", "rapidocr") if find_spec(name) is None]
    if missing:
        cure = "`make demo` installs what it needs, or: pip install -e '.[demo]'"
        print(f"The demo lacks {', '.join(missing)}; {cure}", file=sys.stderr)
        return NOTHING_READ
    from examples.receipts.demo import demo

    try:
        return demo(options)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
