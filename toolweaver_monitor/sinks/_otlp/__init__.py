"""The OpenTelemetry sink: calls as spans and metrics, and calls and spans as each other's parents."""
