"""Receipts go through three tools - ocr, parse_items, categorize - and `toolweaver_monitor` monitors each of them.

Run it with `make demo`, or `python -m examples.receipts --help`.
"""
