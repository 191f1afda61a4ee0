"""Safe text: names, redaction, the text of values and exceptions, tables for terminals."""
