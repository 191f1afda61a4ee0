"""What do the models in the table of payloads cost? Dollars per million tokens, from each provider's own page.

Copied by hand; as the pages stood in November 2026 (and as the list of genai-prices 0.2.3 has them). Where a page
charges long prompts more, the price of short ones stands here, and only short ones are in the table of payloads.
"""

from __future__ import annotations

from typing import Any

PRICES: dict[str, Any] = {
    # https://platform.openai.com/docs/pricing
    "gpt-4o": {"input": 2.50, "cached_input": 1.25, "output": 10.00},
    "gpt-4o-mini": {"input": 0.15, "cached_input": 0.075, "output": 0.60},
    "gpt-4.1": {"input": 2.00, "cached_input": 0.50, "output": 8.00},
    "gpt-4.1-mini": {"input": 0.40, "cached_input": 0.10, "output": 1.60},
    "gpt-5": {"input": 1.25, "cached_input": 0.125, "output": 10.00},
    "o3": {"input": 2.00, "cached_input": 0.50, "output": 8.00},
    "o4-mini": {"input": 1.10, "cached_input": 0.275, "output": 4.40},
    "gpt-3.5-turbo-instruct": {"input": 1.50, "output": 2.00},
    "text-embedding-3-small": {"input": 0.02},
    "text-embedding-3-large": {"input": 0.13},
    # https://www.anthropic.com/pricing#api (cache writes 1.25 times the input, for an hour twice, reads a tenth)
    "claude-opus-4-1": {
        "input": 15.00, "output": 75.00, "cached_input": 1.50, "cache_write": 18.75, "cache_write_1h": 30.00,
    },
    "claude-sonnet-4-5": {
        "input": 3.00, "output": 15.00, "cached_input": 0.30, "cache_write": 3.75, "cache_write_1h": 6.00,
    },
    "claude-haiku-4-5": {
        "input": 1.00, "output": 5.00, "cached_input": 0.10, "cache_write": 1.25, "cache_write_1h": 2.00,
    },
    # https://ai.google.dev/gemini-api/docs/pricing
    "gemini-2.5-pro": {"input": 1.25, "cached_input": 0.125, "output": 10.00},
    "gemini-2.5-flash": {"input": 0.30, "cached_input": 0.03, "output": 2.50},
    "gemini-2.5-flash-lite": {"input": 0.10, "cached_input": 0.01, "output": 0.40},
    "gemini-2.0-flash": {"input": 0.10, "cached_input": 0.025, "output": 0.40},
    # https://mistral.ai/pricing/api
    "mistral-large-2512": {"input": 0.50, "cached_input": 0.05, "output": 1.50},
    "mistral-small-2603": {"input": 0.15, "cached_input": 0.015, "output": 0.60},
    "codestral-2508": {"input": 0.30, "cached_input": 0.03, "output": 0.90},
    "mistral-embed": {"input": 0.10, "output": 0.10},
    # https://console.groq.com/docs/models
    "llama-3.3-70b-versatile": {"input": 0.59, "output": 0.79},
    # https://cohere.com/pricing; Cohere's answers do not name the model, so these go by the tool's name
    "ask-command-a": {"input": 2.50, "output": 10.00},
    "ask-command-r7b": {"input": 0.0375, "output": 0.15},
    "embed-with-cohere": {"input": 0.12},
    "rerank-with-cohere": {"per_call": 0.002},
    # https://aws.amazon.com/bedrock/pricing/; nor do those of Bedrock's Converse
    "ask-nova-lite": {"input": 0.06, "output": 0.24},
    "ask-claude-on-bedrock": {
        "input": 3.00, "output": 15.00, "cached_input": 0.30, "cache_write": 3.75, "cache_write_1h": 6.00,
    },
    "ask-llama-on-bedrock": {"input": 0.72, "output": 0.72},
    # run at home
    "llama3.2": {"input": 0, "output": 0},
}  # fmt: skip
