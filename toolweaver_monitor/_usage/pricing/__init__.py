"""Prices: the user's own table first, then genai-prices."""
