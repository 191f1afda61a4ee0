"""One HTTP endpoint and its access rules."""
