"""Monitor one function and print the report: `python -m examples.first_call`."""

from toolweaver_monitor import monitored, setup

monitor = setup()  # in memory only


@monitored("read_receipt", cost=0.01)
def read_receipt(path: str) -> dict[str, object]:
    """Read a receipt. A real tool would call a model here."""
    if path.endswith(".pdf"):
        raise ValueError("only images can be read")
    return {"text": "Coffee 3.20", "tokens_used": 812}


for path in ("one.png", "two.png", "three.pdf"):
    try:
        read_receipt(path)
    except ValueError as error:
        print(f"{path}: {error}")

monitor.report()
