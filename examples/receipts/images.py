"""Draw the receipts: three layouts, the fonts that are installed, some rotation and noise.

Receipt 2 is a damaged file, and the total of receipt 3 is wrong: a tool will have to fail on each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw, ImageFilter, ImageFont

DAMAGED, WRONG_TOTAL = 2, 3

EMPLOYEES = ("eve", "ann", "bob")
SHOPS = ("CORNER CAFE", "GREEN GROCER", "CITY STATIONERS", "NIGHT PHARMACY", "STATION KIOSK", "OLD MILL BAKERY")
GOODS = {
    "Espresso": 240, "Croissant": 220, "Orange juice": 410, "Cheese roll": 380, "Bread": 315, "Apples": 275,
    "Notebook": 490, "Pencils": 365, "Envelopes": 280, "Stapler": 1250, "Plasters": 345, "Toothpaste": 299,
    "Soap": 185, "Bus ticket": 320, "Newspaper": 260,
}  # fmt: skip
"""Cents."""

Row = tuple[str, str]
"""The text at the left, and at the right."""


def draw_receipts(count: int, folder: Path) -> list[Path]:
    """Draw receipts as PNG files.

    Args:
        count: how many; the same number always gives the same receipts.
        folder: where to; made if it is not there.

    Returns:
        The files, in order, each named for its number and for who hands it in: `01-ann.png`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [_draw(number, folder / f"{number:02}-{EMPLOYEES[number % 3]}.png") for number in range(1, count + 1)]


def _draw(number: int, file: Path) -> Path:
    random = Random(number)
    bought = {name: GOODS[name] for name in random.sample(sorted(GOODS), random.randint(2, 5))}
    total = sum(bought.values()) + (300 if number == WRONG_TOTAL else 0)
    rows = LAYOUTS[number % len(LAYOUTS)](random.choice(SHOPS), bought, total)
    photographed(drawn(rows, random.choice(fonts(random.randint(19, 24)))), random).save(file)
    if number == DAMAGED:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    return file


def till(shop: str, bought: dict[str, int], total: int) -> list[Row]:
    """Lay out the usual slip of paper."""
    return [(shop, ""), *((name, money(cents)) for name, cents in bought.items()), ("TOTAL", money(total))]


def dotted(shop: str, bought: dict[str, int], total: int) -> list[Row]:
    """Lay out names and amounts with dots between them."""
    lines = [(f"{name} {'.' * (20 - len(name))}", money(cents)) for name, cents in bought.items()]
    return [(shop, "No. 4711"), *lines, ("Total", money(total)), ("Thank you!", "")]


def invoice(shop: str, bought: dict[str, int], total: int) -> list[Row]:
    """Lay out columns with headings, and dollar signs."""
    lines = [(name, f"${money(cents)}") for name, cents in bought.items()]
    return [(shop, ""), ("Item", "Amount"), *lines, ("Total due", f"${money(total)}")]


LAYOUTS: tuple[Callable[[str, dict[str, int], int], list[Row]], ...] = (till, dotted, invoice)


def drawn(rows: Sequence[Row], font: ImageFont.FreeTypeFont) -> Image.Image:
    """Draw the rows on white paper."""
    pitch = round(font.size * 1.7)
    image = Image.new("L", (400, pitch * (len(rows) + 1)), "white")
    pen = ImageDraw.Draw(image)
    for at, (left, right) in enumerate(rows):
        y = pitch // 2 + at * pitch
        pen.text((25, y), left, font=font, fill="black")
        pen.text((375, y), right, font=font, fill="black", anchor="ra")
    return image


def photographed(image: Image.Image, random: Random) -> Image.Image:
    """Make it look like a hasty photograph: a little askew, unsharp, and grainy."""
    image = image.rotate(random.uniform(-2, 2), Image.Resampling.BICUBIC, expand=True, fillcolor="white")
    image = image.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.8)))
    grain = Image.frombytes("L", image.size, random.randbytes(image.width * image.height))
    return Image.blend(image, grain, random.uniform(0.05, 0.2))


def fonts(size: int) -> list[ImageFont.FreeTypeFont]:
    """Return Pillow's own font, which is always there, and those of DejaVu if they are installed."""
    found = []
    for name in ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf"):
        try:
            found.append(ImageFont.truetype(name, size * 0.9))
        except OSError:  # not installed
            continue
    own = ImageFont.load_default(size)
    return [own, *found] if isinstance(own, ImageFont.FreeTypeFont) else found


def money(cents: int) -> str:
    """Return an amount as receipts print it."""
    return f"{cents // 100}.{cents % 100:02}"
