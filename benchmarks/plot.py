"""Draw what each contender adds to a sync call as bars on a logarithmic scale, in an SVG file."""

from __future__ import annotations

from math import log10

from benchmarks.results import Results

WIDTH, LEFT, BAR, GAP, TOP = 760, 170, 20, 8, 46


def as_svg(results: Results, benchmark: str = "sync") -> str:
    """The added microseconds of one benchmark, smallest first."""
    rows = results.benchmarks().get(benchmark, {})
    found = sorted((row["added"].median, name) for name, row in rows.items() if "added" in row)
    found = [(value, name) for value, name in found if value > 0]
    if not found:
        raise ValueError(f"nothing was measured that could be drawn; run the benchmark {benchmark!r}")
    lowest, highest = log10(found[0][0]) - 0.3, log10(found[-1][0]) + 0.05
    height = TOP + len(found) * (BAR + GAP) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif">',
        f"<title>Microseconds added to a {benchmark} call</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(12, 24, f"Microseconds added to a {benchmark} call (logarithmic; less is better)"),
    ]
    for at, (value, name) in enumerate(found):
        y = TOP + at * (BAR + GAP)
        length = (log10(value) - lowest) / (highest - lowest) * (WIDTH - LEFT - 80)
        colour = "#0b6e4f" if name == "ours" else "#8d99ae"
        parts.append(_text(LEFT - 10, y + 15, name, ' text-anchor="end"'))
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.0f}" height="{BAR}" fill="{colour}"/>')
        parts.append(_text(LEFT + length + 6, y + 15, f"{value:.2f}"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y}" font-size="13" fill="#222222"{more}>{text}</text>'
