"""Calls as log lines, or as a file of JSON lines."""
