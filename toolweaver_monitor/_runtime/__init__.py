"""What `setup()` makes: the one room that knows both where calls begin and where they end."""
