"""The path of a call from its caller to the sinks: one append on the caller's side, the rest on other threads."""
