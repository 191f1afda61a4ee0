"""`instrument()` and `uninstrument()`: patching of code that is not decorated."""
