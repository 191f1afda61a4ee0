"""Statistics, in which every call is counted once."""
