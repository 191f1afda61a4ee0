"""Patch code that is not decorated: `instrument()` and `uninstrument()`."""
