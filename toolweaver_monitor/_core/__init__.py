"""The shared core: the call, its context, ids, locks, clocks and settings."""
