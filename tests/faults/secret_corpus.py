"""Secrets of every kind, put together at run time: none of them stands in this file, or any scanner would find it."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Iterator

_random = random.Random(20_260_101)  # the same each time


def _some(count: int, letters: str = string.ascii_letters + string.digits) -> str:
    """Letters of which at least one is a digit, one small and one large where there are such."""
    while True:
        found = "".join(_random.choice(letters) for _ in range(count))
        wanted = [
            kind for kind in (string.digits, string.ascii_lowercase, string.ascii_uppercase) if set(kind) & set(letters)
        ]
        if all(set(kind) & set(found) for kind in wanted):
            return found


HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + string.digits


def _jwt(size: int = 40) -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": _some(size), "iat": 1_516_239_022})
    return (
        ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
        + "."
        + _some(43)
    )


def _pem(kind: str, lines: int) -> str:
    body = "\n".join(_some(64) for _ in range(lines))
    return f"-----BEGIN {kind}PRIVATE " + f"KEY-----\n{body}\n-----END {kind}PRIVATE " + "KEY-----"


def _join(*parts: str) -> str:
    return "".join(parts)


def by_value() -> Iterator[tuple[str, str, str]]:
    """Name, text that holds the secret, and the secret itself, of those that are known by what they look like."""
    issued = {
        "OpenAI": ("sk-", 48), "OpenAI project": ("sk-proj-", 64), "Anthropic": ("sk-ant-api03-", 80),
        "OpenRouter": ("sk-or-v1-", 64), "short sk": ("sk-", 12), "GitHub": ("ghp_", 36), "GitHub OAuth": ("gho_", 36),
        "GitHub app": ("ghs_", 36), "GitHub fine-grained": ("github_pat_", 70), "GitLab": ("glpat-", 20),
        "Slack bot": ("xoxb-", 40), "Slack user": ("xoxp-", 40), "Slack app": ("xapp-1-", 40), "Google": ("AIza", 35),
        "Google OAuth": ("ya29.", 60), "Google client": ("GOCSPX-", 28), "Stripe live": ("sk_live_", 24),
        "Stripe restricted": ("rk_live_", 24), "Stripe webhook": ("whsec_", 32), "Hugging Face": ("hf_", 34),
        "Groq": ("gsk_", 52), "xAI": ("xai-", 80), "Perplexity": ("pplx-", 48), "Replicate": ("r8_", 37),
        "npm": ("npm_", 36), "PyPI": ("pypi-", 90), "SendGrid": ("SG.", 60), "Databricks": ("dapi", 32),
        "DigitalOcean": ("dop_v1_", 64), "Shopify": ("shpat_", 32), "Linear": ("lin_api_", 40), "Notion": ("ntn_", 46),
        "Vault": ("hvs.", 90), "Grafana": ("glsa_", 32), "New Relic": ("NRAK-", 27), "Sentry": ("sntrys_", 60),
        "Tavily": ("tvly-", 32), "Pinecone": ("pcsk_", 60), "LangSmith": ("lsv2_pt_", 40), "W&B": ("wandb_v1_", 40),
        "ElevenLabs": ("sk_", 48), "E2B": ("e2b_", 40),
    }  # fmt: skip
    for name, (prefix, count) in issued.items():
        letters = HEX if name in ("Databricks", "E2B", "ElevenLabs") else string.ascii_letters + string.digits
        secret = _some(count, letters)
        yield name, _join(prefix, secret), secret
    for prefix in ("AKIA", "ASIA"):
        secret = _some(16, UPPER)
        yield f"AWS {prefix}", _join(prefix, secret), secret
    secret = _some(38) + "/" + _some(1, "abc")
    yield "AWS secret key", secret, secret
    secret = _jwt()
    yield "JWT", secret, secret
    secret = _jwt(1_500)
    yield "JWT longer than the window", secret, secret
    for kind, lines in (("RSA ", 12), ("", 6), ("OPENSSH ", 30), ("EC ", 3)):
        secret = _pem(kind, lines)
        yield f"PEM {kind}", secret, secret
    secret = _some(24)
    yield "bearer", f"sent Bearer {secret} to it", secret
    secret = base64.b64encode(f"bob:{_some(12)}".encode()).decode()
    yield "basic", f"Basic {secret}", secret
    secret = _some(20)
    yield "header", f"Authorization: Token {secret}", secret
    secret = _some(16)
    yield "header in a dict", str({"Authorization": f"Bearer {secret}"}), secret
    for scheme in ("postgres", "mysql+pymysql", "redis", "mongodb+srv", "amqp", "https"):
        secret = _some(16)
        yield f"{scheme} address", f"{scheme}://user:{secret}@db.internal:5432/main", secret
    secret = _some(10) + "/" + _some(6)
    yield "address with a slash in its password", f"postgres://user:{secret}@db/main", secret
    secret = _some(20)
    yield "token as a user's name", f"https://{secret}@git.example.com/repo", secret
    secret = _some(30)
    yield "Slack webhook", f"https://hooks.slack.com/services/T{_some(8)}/B{_some(8)}/{secret}", secret
    secret = _some(35)
    yield "Telegram", f"https://api.telegram.org/bot{_some(9, string.digits)}:AA{secret}/send", secret
    yield "e-mail", "no mailbox for ada.lovelace@example.com", "ada.lovelace"
    for name in ("api_key", "access_token", "sig", "X-Amz-Signature", "key", "password"):
        secret = _some(24)
        yield f"query {name}", f"GET https://api.example.com/v1?page=2&{name}={secret}&limit=5", secret


def by_name() -> Iterator[tuple[str, str, str]]:
    """As `by_value`, of those that are known by what they are called."""
    names = (
        "password", "passwd", "pwd", "api_key", "apikey", "client_secret", "SECRET_KEY", "AWS_SECRET_ACCESS_KEY",
        "auth_token", "refresh_token", "DB_PASSWORD", "X-Api-Key", "private_key", "passphrase",
    )  # fmt: skip
    for name in names:
        for text in ("{}={}", "{}: {}", "'{}': '{}'", '"{}": "{}"', "--{} {}"):
            if text.startswith("--") and name not in ("password", "api_key", "client_secret"):
                continue
            secret = _some(14, string.ascii_lowercase)
            yield f"{text.format(name, '...')}", "could not log in with " + text.format(name, secret), secret
    secret = _some(9) + " " + _some(5)
    yield "quoted with a space", f"password='{secret}'", secret
    secret = _some(14)
    yield "the provider's own words", f"Incorrect API key provided: {secret}. You can find yours ...", secret
    secret = _some(14)
    yield "a cookie", f"Cookie: session={secret}; theme=dark", secret
    secret = _some(14)
    yield "curl", f"curl -u bob:{secret} https://example.com", secret
    secret = _some(14)
    yield "a command as a list", str(["psql", "--password", secret]), secret


VALUES = list(by_value())
NAMED = list(by_name())
CORPUS = VALUES + NAMED


def piece(secret: str) -> str:
    """A part of a secret that is too much already: eight characters from its middle, without line ends."""
    middle = secret.replace("\n", "")
    start = len(middle) // 2 - 4
    return middle[max(0, start) :][:8]
