"""Patterns of secrets, by their look and by their name.

By their look: `sk-...`, a JWT, `user:pass@` in an address. By their name: `password=...`, `?sig=...`. Every pattern
reads each character a bounded number of times, so no text can make it slow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple


class Pattern:
    """A regular expression that is compiled at its first use: compiling all of them takes 10 ms of an import."""

    __slots__ = ("_compiled", "_flags", "pattern")

    def __init__(self, pattern: str, flags: re.RegexFlag = re.NOFLAG) -> None:
        self.pattern = pattern
        self._flags = flags
        self._compiled: re.Pattern[str] | None = None

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """Return the matches in a text, as `re.Pattern.finditer`."""
        if self._compiled is None:
            self._compiled = re.compile(self.pattern, self._flags)
        return self._compiled.finditer(text)


class Rule(NamedTuple):
    """The way to find one kind of secret: the pattern's last group, or the whole match if it has no group."""

    cues: tuple[str | bytes, ...]
    """The rule runs if the text in lower case contains one of these, or its outline one that is bytes."""
    pattern: Pattern
    likely: Callable[[str], bool] | None = None
    """A check of each match, for patterns that alone would match too much."""


OUTLINE = bytes(ord("k" if chr(byte).isalnum() or chr(byte) in "+/" else " ") for byte in range(128)) + b" " * 128
"""The translation of a text's bytes into its outline: `k` for a character of base64, a space for any other."""


INVISIBLE = Pattern(
    r"\x1b\[[\d;]{0,16}[A-Za-z]|[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f"
    r"\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb]"
    r"|\\xc2\\x(?:[89][0-9a-f]|ad)|\\xcd\\x8f|\\xd8\\x9c|\\xe1\\xa0\\x8[b-f]"
    r"|\\xe2\\x8(?:0\\x(?:8[b-f]|a[a-e])|1\\xa[0-9a-f])"
    r"|\\xef\\x(?:b8\\x8[0-9a-f]|bb\\xbf|bf\\xb[9ab])"
    r"|\\x1b\[[\d;]{0,16}[A-Za-z]|\\x(?:0[0-8bcef]|1[0-9a-f]|7f|[89][0-9a-f]|ad)|\\u(?:200[b-f]|20[26][0-9a-f]|feff)"
)
"""What cannot be seen in a text (controls, colours, characters of no width): as it is, and as `repr` writes it, both
for text and for the UTF-8 of bytes."""


def _in_a_row(letters: int) -> bytes:
    """Return a run of base64 characters as the outline of a text shows it."""
    return b"k" * letters


def _looks_random(text: str) -> bool:
    """Return whether a text is no word of a language: it has a digit, `=` or `aB`, or is longer than words are."""
    return len(text) >= 20 or re.search(r"[0-9=]|[a-z][A-Z]", text) is not None


_WORDLIKE_PIECE = r"(?:[a-z]{1,15}\d{0,2}|\d{1,4}[a-z]?)"


def _is_word(text: str) -> bool:
    """Return whether a text is a word, also with a number (`idea12345`), or several (`limit_of_gpt_4o`)."""
    pattern = rf"[A-Za-z]?[a-z]{{0,18}}\d{{0,5}}|[A-Z]?{_WORDLIKE_PIECE}(?:[_-]{_WORDLIKE_PIECE})+"
    return re.fullmatch(pattern, text[:128]) is not None


def _looks_random_and_no_word(text: str) -> bool:
    return _looks_random(text) and not _is_word(text)


def _looks_generated(text: str) -> bool:
    """Return whether no person would give such a name: digits or capitals among small letters, or 20 letters on end."""
    return (
        re.search(r"[a-z][0-9][A-Za-z0-9]*[a-z0-9]|[a-z][A-Z]|[A-Za-z]{20}", text.partition("_")[2] or text) is not None
    )


def _looks_like_aws(text: str) -> bool:
    return all(re.search(kind, text) for kind in ("[a-z]", "[A-Z]", "[0-9]"))


_KNOWN_RUNS = Pattern(
    r"\A[nrt]?(?:(?P<AWS>[A-Za-z0-9+/]{40})\Z"
    # Sessions of AWS and its Bedrock, Artifactory, Fly.io
    r"|(?:IQoJb3JpZ2lu|FwoGZXIvYXdz|ABSK|cmVmdGtu|fm2_[A-Za-z0-9+/]{4})[A-Za-z0-9+/]{36}"
    r"|[A-Za-z0-9+/]{33,80}?(?:JQQJ99|AZDO|\+ACR|AzSe|AzFu|AzCa)[A-Za-z0-9+/]{4,40}={0,2}\Z)"  # Azure
)


def _is_a_known_run(text: str) -> bool:
    """Return whether a long run of letters and digits has the form of a known issuer's keys."""
    return any(match["AWS"] is None or _looks_like_aws(match["AWS"]) for match in _KNOWN_RUNS.finditer(text[:256]))


def _looks_issued(text: str) -> bool:
    """Return whether the text beside a secret's name may be a key, and not a word or a path."""
    return _looks_like_aws(text) or (len(text) >= 20 and re.search("[0-9]", text) is not None)


def _looks_issued_and_no_word(text: str) -> bool:
    return _looks_issued(text) and not _is_word(text)


def _not_a_small_number(text: str) -> bool:
    return not (text.rstrip(".,;").isdecimal() and len(text) < 6)


# --- by their look --------------------------------------------------------------------------------------------------

_UNMISTAKABLE = {  # how an issuer's keys begin -> the fewest characters that follow
    "ghp_": 10, "gho_": 10, "ghu_": 10, "ghs_": 10, "ghr_": 10, "github_pat_": 10, "sk_live_": 6, "sk_test_": 6,
    "rk_live_": 6, "rk_test_": 6, "whsec_": 8, "dop_v1_": 16, "doo_v1_": 16, "shpat_": 10, "shpss_": 10, "shpca_": 10,
    "shppa_": 10, "lin_api_": 10, "glsa_": 16, "sntrys_": 10, "lsv2_": 12, "wandb_v1_": 10, "sntryu_": 16,
    "pscale_tkn_": 10, "pscale_pw_": 10, "pscale_oauth_": 10, "sb_secret_": 10, "dckr_pat_": 10, "dckr_oat_": 10,
    "tgp_v1_": 16, "pylf_v1_": 10, "pylf_v2_": 10, "figd_": 16, "snyk_uat.": 16, "snyk_sat.": 16,
}  # fmt: skip
_DASHED = {
    "glpat-": 10, "xoxa-": 6, "xoxb-": 6, "xoxe-": 6, "xoxo-": 6, "xoxp-": 6, "xoxr-": 6, "xoxs-": 6, "xapp-": 6,
    "GOCSPX-": 10, "NRAK-": 10, "PMAK-": 16, "AGE-SECRET-KEY-": 10, "xoxc-": 6, "glptt-": 16, "gldt-": 16,
    "glrt-": 16, "glrtr-": 16, "glcbt-": 16, "glagent-": 16, "gloas-": 16, "glsoat-": 16, "glft-": 16, "glimt-": 16,
    "glffct-": 16, "nvapi-": 20, "bedrock-api-key-": 20, "sq0atp-": 16, "sq0csp-": 16, "HRKU-": 20,
    "pat-na1-": 30, "pat-eu1-": 30, "xoxd-": 6,
}  # fmt: skip
_BARE_BEGINNINGS = {
    "AKIA": 12, "ASIA": 12, "AIza": 20, "ya29.": 10, "SG.": 20, "hvs.": 12, "hvb.": 12, "ATATT3": 16,
    "1//0": 20, "AQ.Ab": 20, "ATBB": 24, "ATCTT3": 16, "EAA": 60, "AKCp": 60,
}  # fmt: skip
_WORDLIKE = {  # names may begin like this, too: hf_summarize_long_documents
    "hf_": 12, "api_org_": 10, "gsk_": 16, "r8_": 20, "npm_": 20, "ntn_": 20, "glc_": 16, "pcsk_": 12, "sbp_": 20,
    "e2b_": 20, "jina_": 20, "fw_": 20, "napi_": 40, "rnd_": 20, "nfp_": 30, "vcp_": 30, "sqp_": 36, "squ_": 36,
    "sqa_": 36, "secret_": 40, "rubygems_": 40,
}  # fmt: skip
_WORDLIKE_DASHED = {"xai-": 16, "pplx-": 16, "pypi-": 16, "tvly-": 12, "csk-": 40, "fc-": 30, "pa-": 40, "sess-": 30}


def _prefixed(prefixes: dict[str, int]) -> Pattern:
    """Return a pattern of keys by their prefixes, grouped by first letter so that the search skips any other letter."""
    rests: dict[str, list[str]] = {}
    for prefix, fewest in prefixes.items():
        rests.setdefault(prefix[0], []).append(rf"{re.escape(prefix[1:])}[\w.-]{{{fewest},}}")
    return Pattern("|".join(rf"{first}(?:{'|'.join(rest)})" for first, rest in rests.items()))


_SERVICE_USER = "(?:git|hg|svn)"
"""The user of a repository's address, such as `git@github.com:org/repo.git`, who is no person and no secret."""

AS_WRITTEN = (
    Rule(("_",), _prefixed(_UNMISTAKABLE)),
    Rule(("_",), _prefixed(_WORDLIKE), _looks_generated),
    Rule(("-",), _prefixed(_DASHED)),
    Rule(("-",), _prefixed(_WORDLIKE_DASHED), _looks_generated),
    Rule(tuple(map(str.lower, _BARE_BEGINNINGS)), _prefixed(_BARE_BEGINNINGS)),
    Rule(("sk-",), Pattern(r"(?<![aeiou])sk-[\w-]{6,}"), _looks_random),  # not task-..., disk-..., desk-...
    Rule(("sk_",), Pattern(r"(?<![aeiou])sk_[\w-]{20,}"), _looks_generated),
    Rule(("eyj",), Pattern(r"eyJ[\w-]{8,}(?:\.[\w-]*){0,4}")),  # base64 of {" : a JWT or similar
    Rule(("key",), Pattern(
        r"-----BEGIN[A-Z0-9 +%]{0,40}PRIVATE(?:[ +]|%20)KEY.*?(?:-----END[A-Z0-9 +%]{0,50}(?:-----)?|\Z)", re.DOTALL)),
    Rule(("bearer",), Pattern(
        r"(?:[Bb]earer|BEARER)\s{1,4}(?!(?:expires\w{0,9}|scope|issued_at)=)([\w.~+/=-]{8,})"), _looks_random),
    Rule(("basic", "token"), Pattern(
        r"(?:[Bb]asic|BASIC)\s{1,4}([\w.~+/=-]{8,})|[Tt]oken\s([\w-]{16,})"), _looks_random_and_no_word),
    Rule(("://",), Pattern(rf"://(?!{_SERVICE_USER}@)([^\s/?#\"'<>@]+(?:@[^\s/?#\"'<>@]+)*)@")),
    # A password may contain a bare "/" or "?", a port may not. If no "@" is in sight, all of the rest may be password.
    Rule(("://",), Pattern(r"://([^\s:/@]*:(?!\d{0,5}(?:[/?#\s]|\Z))(?:[^\s\"'<>]*(?=@)|[^\s\"'<>]{256,}\Z))")),
    Rule(("@",), Pattern(
        r"(?<![\w/.+-])([\w.+-]{1,64}+:[^\s:@/]{1,256}+)@(?!sha\d|v?\d{1,9}\.\d{1,9}\.\d{1,9}(?![\d.]))[\w\[]")),
    # An e-mail address: no package with its version, no repository, no image for screens of twice the resolution.
    Rule(("@", "%40"), Pattern(
        rf"(?<![\w.+-])(?!{_SERVICE_USER}@)[\w.+-]++(?:@|%40)(?!v?\d{{1,9}}\.\d{{1,9}}(?:[.+-]|\b)|\dx\.)"
        r"(?:[\w-]++\.)+(?=[^\W\d_]{2})[\w-]++")),
    Rule(("hook",), Pattern(
        r"(?:hooks\.slack\.com/\w+|/api/webhooks|\.webhook\.office\.com/\w+)/([^\s\"'<>]+)")),
    Rule(("dp.",), Pattern(r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w.-]{10,}")),  # Doppler
    Rule(("q~",), Pattern(r"(?<![\w~.-])[\w~.-]{3}\dQ~[\w~.-]{31,34}")),  # Entra ID
    Rule((".atlasv1.",), Pattern(r"[A-Za-z0-9]{14}\.atlasv1\.[\w-]{40,}")),  # Terraform
    Rule((_in_a_row(40),), Pattern(r"pat[A-Za-z0-9]{14}\.[0-9a-f]{40,}")),  # Airtable
    Rule((":aa",), Pattern(r"(?<!\d)\d{6,12}:AA[\w-]{30,}")),  # Telegram
    Rule((_in_a_row(32),), Pattern(  # Twilio, Databricks, Mailgun
        r"(?:SK|AC|dapi|dose|key-(?<![a-z]key-))[0-9a-f]{32}(?![0-9a-f])")),
    Rule((_in_a_row(86),), Pattern(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{86}==")),  # Azure
    Rule((_in_a_row(40),), Pattern(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/=_-]{40,}"), _is_a_known_run),
    # Passwords on command lines, also as lists of words. `mysql -p NAME` asks for one: NAME is the database.
    Rule(("mysql", "mariadb"), Pattern(r"(?:mysql|mariadb)[^\n|;]{0,256}?[\s'\"]-p['\"]?([^\s'\",]+)")),
    Rule(("sshpass", "docker", "podman", "mongo"), Pattern(
        r"(?:sshpass|(?:docker|podman)['\",\s]{1,4}login|mongo)[^\n|;]{0,256}?[\s'\"]-p(?:['\"],)?\s?['\"]?([^\s'\",]+)")),
    Rule(("redis-cli",), Pattern(r"redis-cli[^\n|;]{0,256}?[\s'\"]-a(?:['\"],)?\s?['\"]?([^\s'\",]+)")),
)  # fmt: skip

# --- by their name --------------------------------------------------------------------------------------------------


def _after(words: Iterable[str], last: str) -> str:
    """Return a pattern for `last` after one of these words. It begins with a literal, which makes the search fast."""
    after = "|".join(f"(?<={word}{last})|(?<={word}[ _-]{last})" for word in words)
    return f"{last}(?:{after})(?<!valid.{last})(?<!valid{last})"  # an "invalid token" is no "id token"


KEYS = (
    "api", "access", "account", "admin", "app", "auth", "consumer", "encryption", "functions", "master", "private",
    "secret", "service", "shared", "signing", "ssh", "subscription",
)  # fmt: skip
_TOKEN_KINDS = (
    "access", "api", "auth", "bearer", "bot", "client", "csrf", "id", "refresh", "security", "session", "xsrf",
)  # fmt: skip

_FOREIGN = (  # German, Dutch, Spanish, French, Portuguese, Russian, Chinese, Japanese, Korean
    "passwort", "kennwort", "wachtwoord", "contrase\u00f1a", "contrasen\u0303a", "contrasena", "mot de passe", "senha",
    "\u043f\u0430\u0440\u043e\u043b\u044c", "\u5bc6\u7801", "\u5bc6\u78bc", "\u53e3\u4ee4",
    "\u30d1\u30b9\u30ef\u30fc\u30c9", "\ube44\ubc00\ubc88\ud638",
)  # fmt: skip


def _spellings(word: str) -> set[str]:
    """Return patterns of a word as it is, as `ascii` and JSON escape it, and as the `repr` of its UTF-8 shows it."""
    in_json = "".join(c if c.isascii() else f"\\u{ord(c):04x}" for c in word)
    spellings = (word, ascii(word)[1:-1], in_json, ascii(word.encode())[2:-1])
    return {spelling.replace("\\", r"\\{1,4}") for spelling in spellings}  # a `repr` of that doubles the backslash


_NAMES = {  # cues -> names whose value is a secret
    ("pass",): r"pass(?:[_-]?words?|wd|[_-]?phrase|[_-]?code)",
    ("secret",): "secrets?",
    ("key",): _after(KEYS, "key"),
    ("token",): _after(_TOKEN_KINDS, "token"),
    ("pwd", "cred", "sig", "cookie", "auth", "connection_string", "connectionstring"): (
        "(?:pwd|credentials?|x-amz-signature|cookie|authorization|connection_?string)"
    ),
    ("\\u", "\\x", *_FOREIGN): "(?:" + "|".join(sorted(chain.from_iterable(map(_spellings, _FOREIGN)))) + ")",
}
_OFTEN = "token|auth|signature|sig|sid|sessionid|(?:php)?sessid|jsessionid|jwt|pass|otp|pin|nonce"
"""Names whose value is a secret only if it looks like one: `token: unexpected end of file` and `pass: 3` are not."""

_OFTEN_CUES = ("token", "auth", "sig", "sid", "sess", "jwt", "pass", "otp", "pin", "nonce")

_VALUE = (
    r"""(?:[bru]?"((?:\\.|[^"\\])++)|[bru]?'((?:\\.|[^'\\])++)|\\+["']([^"'\\]++)"""
    r"""|([^\s"'&;\\](?:[^\s&;]|[&;](?!\s?[\w.\[\] -]{1,40}=))*+))"""
)
"""A value in quotes, in escaped quotes, or bare, which then ends at a space or at the separator before a `name=`."""
_WORDS = (
    "a", "an", "and", "are", "be", "but", "can't", "cannot", "could", "credentials", "denied", "did", "does", "empty",
    "error", "expected", "expired", "failed", "field", "found", "has", "incorrect", "invalid", "is", "its", "malformed",
    "may", "mismatch", "missing", "must", "needs", "no", "not", "or", "please", "refused", "rejected", "required",
    "requires", "revoked", "run", "set", "should", "that", "the", "this", "too", "try", "unable", "unauthorized",
    "unexpected", "unknown", "unset", "use", "value", "was", "were", "wrong", "you", "your",
    "falsch", "fehlt", "incorrecta", "inv\u00e1lida", "invalide", "manquant", "requerida", "ung\u00fcltig",
)  # fmt: skip
"""Words with which a sentence goes on after a name: `credentials: not found`. None of them is a secret."""

_A_WORD = rf"(?:{'|'.join(_WORDS)})['\")\]}}.,:;!?]*+(?:\s|\Z)"
_NO_VALUE = (
    rf"(?!(?:none|null|true|false|undefined)\b|\*|\[redacted|[,.:)]+(?:\s|\Z)|{_A_WORD}"
    r"|\[errno|\[?[\"'](?:(?:this|the) (?:field|value)|field required|must |may not |required[\"']))"
)
_GAP = r"(?:\s{0,3}|[ \t]{4,24})"
"""The gap between name and value, which is wider in columns."""
_WIDE = r"[\uff1a\uff1d]|\\{1,4}(?:uff1[ad]|xef\\{1,4}xbc\\{1,4}x9[ad])"
"""The colon and the equals sign of East Asian text, also escaped."""
_IS = rf"""(?:\\*["'\]])?{_GAP}(?:[:=]>?|{_WIDE}|->|%3[ad]|>(?![\s<])){_GAP}"""

IN_LOWER_CASE = (
    Rule(("auth", "cookie"), Pattern(  # a header: the whole line
        rf"(?:authorization|cookie){_IS}(?!{_A_WORD})([^\s\"'\\](?:[^\n\r\"'\\=]|=(?:\\?\"[^\"\n\r\\]*+\\?\")?)*+)")),
    Rule(("cookie",), Pattern(r"cookies?[\"']?\s?[:=]\s?(\{[^}]{1,1024})")),
    Rule(("auth",), Pattern(  # auth=('user', 'password')
        r"auth[\"']?(?:\s?[:=]\s?)?[\[(][bru]?[\"'][^\"'\s]{0,128}[\"'],\s?[bru]?[\"']([^\"']+)")),
    *(Rule(cues, Pattern(rf"{name}(?:[_-][a-z0-9_-]{{1,24}})?{_IS}{_NO_VALUE}{_VALUE}"))
      for cues, name in _NAMES.items()),
    Rule(("key", "pass", "secret"), Pattern(
        r"(?:api key|password|passphrase|secret)\s(?:(?:provided|given|used|value|was|is)[:=]?\s){1,2}"
        r"[\"']?([^\s\"']*\d[^\s\"']*)"), _not_a_small_number),
    Rule(("key", "token", "pass", "secret"), Pattern(
        r"(?:api[ _-]?key|token|password|secret(?:[ _-]key)?) (?:(?:is\s)?(?:not valid|invalid):?\s)?"
        r"[\"'\[(`]?([\w~+=-]{10,})(?![\w./~+=-])"),
        _looks_issued_and_no_word),
    Rule(("key", "token", "pass", "secret", "cookie", "auth"), Pattern(  # a pair of a name and its value
        r"[\"'],(?:(?<=key..)|(?<=token..)|(?<=password..)|(?<=secret..)|(?<=cookie..)|(?<=authorization..))\s?"
        r"(?:\\*[\"']value\\*[\"']\s?:\s?)?[bru]?\\*[\"']([^\"'\\]{10,})"), _looks_issued),
    Rule(("input_value",), Pattern(  # pydantic names a field on one line, and its input on the next
        r"(?:pass(?:word|wd|phrase)|secret|token|key|credentials?|dsn|pwd|cookie)\w{0,16}(?:\n|\\+n|  )"
        r"[^\n]{1,256}?input_value=('[^'\n]*|\"[^\"\n]*|[^\s,\]]+)")),
    Rule(("identified",), Pattern(r"identified\s(?:with\s\S{1,40}\s)?by\s[\"']([^\"']+)")),
    Rule(("%3a%2f%2f",), Pattern(r"%3a%2f%2f((?:[^\s\"'<>%&]|%(?!40|2f))++)%40")),
    Rule(("pass",), Pattern(r"(?:password|passphrase)\s['\"]([^'\"]+)")),
    Rule(_OFTEN_CUES, Pattern(
        rf"(?<![a-z])(?:{_OFTEN})(?:={_NO_VALUE}{_VALUE}"
        rf"|{_IS}[\"']?{_NO_VALUE}((?=[^\s\"'&;]{{0,64}}?\d)[^\s\"'&;]{{8,}}))"), _not_a_small_number),
    Rule(("=",), Pattern(r"[?&;#](?:key|code|credential|sig|sas)=([^\s&#\"'<>]+)")),
    Rule(("pass", "token", "secret", "key", "cred"), Pattern(  # a command line, or a list of its words
        r"(?<![\w-])--?(?:[a-z]{1,16}[-_]){0,3}(?:password|passwd|pass|token|secret|key|credentials?)['\",\s]{1,4}"
        rf"(?!{_A_WORD}|[.,:;)](?:\s|\Z))([^\s'\"-][^\s'\"]*)")),
    Rule(("-",), Pattern(  # curl -u; not the ids of a user and a group, and not an address
        r"(?:-u|--user)['\",\s]{1,4}(?!\d+:\d+(?:\D|\Z)|https?:)([^\s'\":]+:[^\s'\"]+)")),
)  # fmt: skip
