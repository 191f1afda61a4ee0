"""The folder in which the workers of one run keep what they have counted."""
