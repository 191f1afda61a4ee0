"""What every room shares: the call, its context, ids, locks, clocks and settings."""
