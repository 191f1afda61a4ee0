"""The pipe: one append on the caller's side, everything after it off the caller's path."""
