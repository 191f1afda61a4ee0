"""Statistics: everything is counted once."""
