"""What does a monitored call cost, beside what a user would write by hand? Run `python -m benchmarks`."""
