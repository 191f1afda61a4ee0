"""Prices of the models in the table of payloads: dollars per million tokens, from each provider's own page.

Written down by hand, as the pages stood in 2026, or last stood for models that have left them. Standard prices, unless
a tier is named. If a page charges long prompts more, the price of short ones is given here, and only short
ones are in the table of payloads. `test_prices.py` compares with genai-prices, and with what a gateway really charged.
"""

from __future__ import annotations

from typing import Any

PRICES: dict[str, Any] = {
    # https://platform.openai.com/docs/pricing (text; caches of GPT-5.6 take a quarter more to be written)
    "gpt-4-turbo": {"input": 10.00, "output": 30.00},
    "gpt-4o": {"input": 2.50, "cached_input": 1.25, "output": 10.00},
    "gpt-4o-mini": {"input": 0.15, "cached_input": 0.075, "output": 0.60},
    "gpt-4.1": {"input": 2.00, "cached_input": 0.50, "output": 8.00},
    "gpt-4.1-mini": {"input": 0.40, "cached_input": 0.10, "output": 1.60},
    "gpt-5": {"input": 1.25, "cached_input": 0.125, "output": 10.00},
    "gpt-5-nano": [
        {"input": 0.05, "cached_input": 0.005, "output": 0.40},
        {"input": 0.025, "cached_input": 0.0025, "output": 0.20, "service_tier": "flex"},
    ],
    "gpt-5.4": {"input": 2.50, "cached_input": 0.25, "output": 15.00},
    "gpt-5.6-sol": {"input": 5.00, "cached_input": 0.50, "cache_write": 6.25, "output": 30.00},
    "o1": {"input": 15.00, "cached_input": 7.50, "output": 60.00},
    "o3-mini": {"input": 1.10, "cached_input": 0.55, "output": 4.40},
    "text-embedding-3-small": {"input": 0.02},
    "text-embedding-ada-002": {"input": 0.10},
    # answers that do not name their model go by the tool's name
    "compact-with-gpt-5.4": {"input": 2.50, "cached_input": 0.25, "output": 15.00},
    "transcribe-with-gpt-4o": {"input": 2.50, "input_audio": 6.00, "output": 10.00},
    "talk-to-gpt-realtime": {
        "input": 4.00, "cached_input": 0.40, "input_audio": 32.00, "cached_audio": 0.40, "output": 16.00,
        "output_audio": 64.00, "input_image": 5.00, "cached_image": 0.50,
    },
    "gpt-4o-audio-preview": {"input": 2.50, "input_audio": 40.00, "output": 10.00, "output_audio": 80.00},
    # https://platform.claude.com/docs/en/about-claude/pricing (cache writes 1.25 times the input, for an hour twice)
    "claude-3-opus": {"input": 15.00, "output": 75.00, "cached_input": 1.50, "cache_write": 18.75},
    "claude-3-7-sonnet": {"input": 3.00, "output": 15.00, "cached_input": 0.30, "cache_write": 3.75},
    "claude-opus-4-1": {
        "input": 15.00, "output": 75.00, "cached_input": 1.50, "cache_write": 18.75, "cache_write_1h": 30.00,
    },
    "claude-opus-4-7": {
        "input": 5.00, "output": 25.00, "cached_input": 0.50, "cache_write": 6.25, "cache_write_1h": 10.00,
    },
    "claude-opus-4-8": {
        "input": 5.00, "output": 25.00, "cached_input": 0.50, "cache_write": 6.25, "cache_write_1h": 10.00,
    },
    "claude-sonnet-4": {"input": 3.00, "output": 15.00, "cached_input": 0.30, "cache_write": 3.75},
    "claude-sonnet-4-5": {
        "input": 3.00, "output": 15.00, "cached_input": 0.30, "cache_write": 3.75, "cache_write_1h": 6.00,
        "web_search": 0.01,
    },
    "claude-sonnet-4-6": {
        "input": 3.00, "output": 15.00, "cached_input": 0.30, "cache_write": 3.75, "cache_write_1h": 6.00,
    },
    "claude-4.6-sonnet": {  # OpenRouter's name for it
        "input": 3.00, "output": 15.00, "cached_input": 0.30, "cache_write": 3.75, "cache_write_1h": 6.00,
    },
    "claude-sonnet-5": {
        "input": 2.00, "output": 10.00, "cached_input": 0.20, "cache_write": 2.50, "cache_write_1h": 4.00,
    },
    "claude-haiku-4-5": {
        "input": 1.00, "output": 5.00, "cached_input": 0.10, "cache_write": 1.25, "cache_write_1h": 2.00,
    },
    # https://ai.google.dev/gemini-api/docs/pricing (text)
    "gemini-2.5-pro": {"input": 1.25, "cached_input": 0.125, "output": 10.00},
    "gemini-2.5-pro-preview-05-06": {"input": 1.25, "output": 10.00},
    "gemini-2.5-flash": {"input": 0.30, "cached_input": 0.03, "output": 2.50},
    "gemini-2.5-flash-image": {"input": 0.30, "output": 2.50, "output_image": 30.00},
    "gemini-2.5-flash-lite": {"input": 0.10, "cached_input": 0.01, "output": 0.40},
    "gemini-2.0-flash": {"input": 0.10, "cached_input": 0.025, "output": 0.40},
    "ask-gemini-flash": {"input": 0.30, "input_audio": 1.00, "output": 2.50},
    "embed-with-gemini": {"input": 0.15},
    # https://mistral.ai/pricing
    "mistral-large": {"input": 0.50, "output": 1.50},
    "mistral-large-2512": {"input": 0.50, "cached_input": 0.05, "output": 1.50},
    "magistral-medium": {"input": 2.00, "output": 5.00},
    "codestral-2508": {"input": 0.30, "cached_input": 0.03, "output": 0.90},
    "mistral-embed": {"input": 0.10, "output": 0.10},
    # https://groq.com/pricing
    "llama-3.3-70b-versatile": {"input": 0.59, "output": 0.79},
    "deepseek-r1-distill-llama-70b": {"input": 0.75, "output": 0.99},
    "openai/gpt-oss-20b": {"input": 0.075, "cached_input": 0.0375, "output": 0.30},
    "openai/gpt-oss-120b": {"input": 0.15, "cached_input": 0.075, "output": 0.60},
    # https://www.cerebras.ai/pricing (the same model by a shorter name, and at another price)
    "gpt-oss-120b": {"input": 0.35, "output": 0.75},
    # https://docs.voyageai.com/docs/pricing
    "voyage-3.5": {"input": 0.06},
    # https://cohere.com/pricing; Cohere's answers do not name the model, so these go by the tool's name
    "ask-command-a": {"input": 2.50, "output": 10.00},
    "ask-command-r7b": {"input": 0.0375, "output": 0.15},
    "embed-with-cohere": {"input": 0.12},
    "rerank-with-cohere": {"per_call": 0.002},
    # https://aws.amazon.com/bedrock/pricing/; nor do those of Bedrock's Converse (Nova's cache costs nothing to write)
    "ask-nova-micro": {"input": 0.035, "output": 0.14},
    "ask-nova-lite": {"input": 0.06, "output": 0.24},
    "ask-claude-on-bedrock": {
        "input": 3.00, "output": 15.00, "cached_input": 0.30, "cache_write": 3.75, "cache_write_1h": 6.00,
    },
    "ask-llama-on-bedrock": {"input": 0.72, "output": 0.72},
    # https://docs.perplexity.ai/getting-started/pricing
    "sonar-deep-research": {"input": 2.00, "output": 8.00, "reasoning": 3.00, "citation": 2.00, "web_search": 0.005},
    # run at home
    "llama3.2": {"input": 0, "output": 0},
}  # fmt: skip
