"""Where calls are born: the decorator, the context manager, and patching from outside."""
