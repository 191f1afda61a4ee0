"""Safe text: names, redaction, text of values, tables for terminals."""
