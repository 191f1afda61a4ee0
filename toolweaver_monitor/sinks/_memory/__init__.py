"""The in-memory sinks: metrics, costs and errors."""
