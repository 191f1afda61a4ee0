"""Send every call to a sink of your own, any callable that takes one: `python -m examples.own_sink`."""

import json

from toolweaver_monitor import ToolCall, setup, track


def print_json(call: ToolCall) -> None:
    """Print one line of JSON for a call that has ended."""
    known = call.as_dict()
    print(json.dumps({key: known[key] for key in ("tool_name", "outcome", "tokens", "tags") if key in known}))


with setup(print_json):
    with track("parse_items", customer="acme") as call:
        call.record(tokens=120)
    with track("save_items", customer="acme"):
        pass
