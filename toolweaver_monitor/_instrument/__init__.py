"""The places where calls begin: the decorator, blocks of code, and patching from outside."""
