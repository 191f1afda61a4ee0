"""Secrets of every kind, put together at run time: none of them stands in this file, or any scanner would find it."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Iterator
from urllib.parse import quote

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
        "ElevenLabs": ("sk_", 48), "E2B": ("e2b_", 40), "NVIDIA": ("nvapi-", 64), "Fireworks": ("fw_", 22),
        "Together": ("tgp_v1_", 43), "Voyage": ("pa-", 43), "Cerebras": ("csk-", 48), "Firecrawl": ("fc-", 32),
        "Gemini": ("AQ.Ab8R", 48), "Logfire": ("pylf_v1_us_", 43), "GitLab runner": ("glrt-", 20),
        "GitLab trigger": ("glptt-", 40), "Slack session": ("xoxc-", 64), "Slack cookie": ("xoxd-", 80),
        "Sentry user": ("sntryu_", 64), "PlanetScale": ("pscale_tkn_", 43), "Neon": ("napi_", 64),
        "Supabase": ("sb_secret_", 31), "Docker": ("dckr_pat_", 27), "Figma": ("figd_", 40), "Render": ("rnd_", 28),
        "Doppler": ("dp.st.prd.", 43), "Square": ("sq0atp-", 22), "Heroku": ("HRKU-AA", 58), "Snyk": ("snyk_uat.", 68),
        "Bitbucket": ("ATBB", 32), "HubSpot": ("pat-na1-", 36), "RubyGems": ("rubygems_", 48),
        "SonarQube": ("sqp_", 40),
        "old Notion": ("secret_", 43), "AWS session": ("IQoJb3JpZ2luX2Vj", 300), "AWS Bedrock": ("ABSK", 128),
        "Fly.io": ("fm2_", 200),
    }  # fmt: skip
    for name, (prefix, count) in issued.items():
        letters = (
            HEX if name in ("Databricks", "E2B", "ElevenLabs", "Firecrawl") else string.ascii_letters + string.digits
        )
        secret = _some(count, letters)
        yield name, _join(prefix, secret), secret
    for prefix in ("AKIA", "ASIA"):
        secret = _some(16, UPPER)
        yield f"AWS {prefix}", _join(prefix, secret), secret
    secret = _some(38) + "/" + _some(1, "abc")
    yield "AWS secret key", secret, secret
    yield from by_middle()
    secret = _jwt()
    yield "JWT", secret, secret
    secret = _jwt(1_500)
    yield "JWT longer than the window", secret, secret
    for kind, lines in (("RSA ", 12), ("", 6), ("OPENSSH ", 30), ("EC ", 3)):
        secret = _pem(kind, lines)
        yield f"PEM {kind}", secret, secret
    secret = quote(_pem("", 6), safe="")
    yield "PEM in a form", f"data={secret}", secret
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
    secret = _some(16)
    yield "address within an address", f"/login?next=postgres%3A%2F%2Fuser%3A{secret}%40db%2Fmain", secret
    secret = _some(10) + "/" + _some(6)
    yield "address with a slash in its password", f"postgres://user:{secret}@db/main", secret
    secret = _some(20)
    yield "token as a user's name", f"https://{secret}@git.example.com/repo", secret
    secret = _some(30)
    yield "Slack webhook", f"https://hooks.slack.com/services/T{_some(8)}/B{_some(8)}/{secret}", secret
    secret = _some(35)
    yield "Telegram", f"https://api.telegram.org/bot{_some(9, string.digits)}:AA{secret}/send", secret
    for domain in (
        "example.com",
        "example.com.",
        "163.com",
        "mail.1und1.de",
        "xn--80ak6aa92e.com",
        "v1.example.museum",
    ):
        yield f"e-mail at {domain}", f"no mailbox for ada.lovelace@{domain}", "ada.lovelace"
    for name in ("api_key", "access_token", "sig", "X-Amz-Signature", "key", "password"):
        secret = _some(24)
        yield f"query {name}", f"GET https://api.example.com/v1?page=2&{name}={secret}&limit=5", secret


def by_middle() -> Iterator[tuple[str, str, str]]:
    """As `by_value`, of those that are known by what is inside them, and of those with something invisible inside."""
    secret = _some(52) + "JQQJ99BA" + _some(24)
    yield "Azure OpenAI", secret, secret
    secret = _some(3) + "8Q~" + _some(34)
    yield "Entra ID", secret, secret
    secret = _some(14) + ".atlasv1." + _some(67)
    yield "Terraform", secret, secret
    secret = _some(14) + "." + _some(64, HEX)
    yield "Airtable", _join("pat", secret), secret
    for name, hidden in (
        ("a zero-width space", "\u200b"),
        ("a NUL", "\0"),
        ("a colour", "\x1b[1m"),
        ("a soft hyphen", "\xad"),
    ):
        secret = _some(44)
        yield f"OpenAI with {name} inside", _join("sk-p", hidden, "roj-", secret), secret
        secret = _some(44)
        yield f"OpenAI with {name} at its end", _join("sk-proj", hidden, "-", secret), secret


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
    for text in (
        "password      =      {}", "password -> {}", "<password>{}</password>", "<apiKey>{}</apiKey>",
        "[('x-api-key', '{}')]", '["password", "{}"]', '[{{"name": "OPENAI_API_KEY", "value": "{}"}}]',
        "auth=('bob', '{}')", "HTTPBasicAuth('bob', '{}')", "cookies={{'session': '{}'}}", "JSESSIONID={}",
        "CREATE USER bob IDENTIFIED BY '{}'", "Invalid API key {}", "API key '{}' not valid", "invalid token '{}'",
        "API key not valid: {}", "x-functions-key: {}", 'Authorization: Digest username="bob", response="{}"',
        "1 validation error for Settings\nopenai_api_key\n  Input should be a URL [type=url, input_value='{}', ...]",
    ):  # fmt: skip
        secret = _some(14)
        yield text, text.format(secret), secret
    for text in (  # in other languages, on command lines, and after a word that is no secret by itself
        "Passwort: {}", "Kennwort={}", "contrase\u00f1a: {}", "contrasen\u0303a: {}", "mot de passe : {}", "senha={}",
        "wachtwoord: {}", "\u043f\u0430\u0440\u043e\u043b\u044c: {}", "\u5bc6\u7801\uff1a{}", "\u5bc6\u78bc: {}",
        "\u53e3\u4ee4={}", "\u30d1\u30b9\u30ef\u30fc\u30c9\uff1a{}", "\ube44\ubc00\ubc88\ud638: {}", "password\uff1a{}",
        "mysql -u root -p{} shop", "mysqldump -h db -p{}", "mariadb -p'{}'", "['mysql', '-uroot', '-p{}']",
        "sshpass -p {} ssh bob@db", "sshpass -p{} ssh db", "docker login -u bob -p {} registry",
        "['docker', 'login', '-p', '{}']", "mongosh -u bob -p {}", "redis-cli -h db -a {} ping", "redis-cli -a '{}'",
        "password: not-{}", "password='not my {}'", "token=wrong-{}", "smtp bob:{}@10.0.0.5 is down",
        "credentials: expired,{}", "--password the.{}", "git:{}@github.com", "https://git:{}@github.com/org/repo",
    ):  # fmt: skip
        secret = _some(14)
        yield text, text.format(secret), secret
    for name in ("contrase\u00f1a", "\u5bc6\u7801"):
        secret = _some(14)
        yield f"{name} in JSON", json.dumps({name: secret}), secret
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
