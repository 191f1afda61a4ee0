"""The three tools. All that monitoring needs is the line above each."""

from __future__ import annotations

import asyncio
import re
import threading
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from toolweaver_monitor import monitored

KINDS = {
    "food": "espresso croissant juice roll bread apples",
    "office": "notebook pencils envelopes stapler newspaper",
    "health": "plasters toothpaste soap",
    "travel": "ticket",
}
AMOUNT = re.compile(r"^(?P<what>.*?)[ .]*\$?(?P<dollars>\d+)[.,](?P<cents>\d\d)$")


class WrongTotal(ValueError):
    """A receipt whose items do not add up to its total."""


@monitored("ocr", cost=0.10)
async def ocr(image: Path) -> dict[str, Any]:
    """Return the lines of text on an image, from top to bottom."""
    return {"lines": await asyncio.to_thread(_read, image)}


@monitored("parse_items", cost=0.02)
def parse_items(lines: list[str]) -> dict[str, Any]:
    """Return what was bought, in cents.

    Raises:
        WrongTotal: the items do not add up to the total.
    """
    items: dict[str, int] = {}
    total = 0
    for found in filter(None, map(AMOUNT.match, lines)):
        cents = int(found["dollars"] + found["cents"])
        if found["what"].lower().startswith("tot"):
            total = cents
        else:
            items[found["what"].strip()] = cents
    if sum(items.values()) != total:
        raise WrongTotal(f"the items add up to {sum(items.values()) / 100:.2f}, the total is {total / 100:.2f}")
    return {"items": items, "total": total}


@monitored("categorize", cost=0.05)
def categorize(items: dict[str, int]) -> dict[str, Any]:
    """Return cents by kind of expense. `tokens_used` in a result, as models tell it, is counted by itself."""
    kinds: dict[str, int] = {}
    for name, cents in items.items():
        kind = next((kind for kind, words in KINDS.items() if _any_in(words, name)), "other")
        kinds[kind] = kinds.get(kind, 0) + cents
    return {"kinds": kinds, "tokens_used": sum(len(name.split()) for name in items)}


def _any_in(words: str, name: str) -> bool:
    return any(word in name.lower() for word in words.split())


_of_thread = threading.local()


def _read(image: Path) -> list[str]:
    """Read the image with the engine, and join what stands at one height into one line."""
    if not hasattr(_of_thread, "engine"):
        from rapidocr import RapidOCR  # includes its models: nothing is downloaded

        one_core = {"EngineConfig.onnxruntime.intra_op_num_threads": 1}
        _of_thread.engine = RapidOCR(params={"Global.log_level": "error", **one_core})
    found = _of_thread.engine(Image.open(image).convert("RGB"))
    if not found.txts:
        return []
    boxes = [box.tolist() for box in found.boxes]
    askew = median((right[1] - left[1]) / (right[0] - left[0]) for left, right, *_ in boxes)
    heights = [left[1] - askew * left[0] for left, *_ in boxes]
    apart = median(bottom[1] - left[1] for left, _, _, bottom in boxes) * 0.6
    lines: list[list[tuple[float, str]]] = []
    last = float("-inf")
    for height, box, text in sorted(zip(heights, boxes, found.txts, strict=True)):
        if height - last > apart:
            lines.append([])
        lines[-1].append((box[0][0], text))
        last = height
    return [" ".join(text for _, text in sorted(line)) for line in lines]
