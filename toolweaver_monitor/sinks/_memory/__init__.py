"""In-memory sinks: metrics, costs and errors."""
