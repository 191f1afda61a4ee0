"""The commands that read a store: one module each, and what they share."""
