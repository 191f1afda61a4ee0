"""What a monitored call costs beside what a user would write by hand. Run `python -m benchmarks`."""
