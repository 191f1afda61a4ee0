"""S1: no secret gets into any sink, whichever way it came, with the default settings."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from secret_corpus import CORPUS, NAMED, VALUES, piece

from toolweaver_monitor import CostTracker, ErrorTracker, MetricsCollector, Monitor, ToolCall, monitored, setup, track
from toolweaver_monitor._text.redact import scrub
from toolweaver_monitor.sinks import LogSink, PrometheusExporter


class Kept:
    """A sink of somebody else's, which writes down all it can find in a call."""

    name = "kept"

    def __init__(self) -> None:
        self.text = ""

    def write(self, calls: Sequence[ToolCall]) -> None:
        for call in calls:
            self.text += repr(call) + repr(call._details) + str(call.error) + str(dict(call.tags)) + "\n"

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


Log = list[logging.LogRecord]


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def monitor(kept: Kept) -> Iterator[Monitor]:
    with setup(PrometheusExporter(port=0), LogSink(level="DEBUG"), kept) as found:
        yield found


def everything(monitor: Monitor, kept: Kept, logged: Log) -> dict[str, str]:
    """What each place shows, by its name."""
    assert monitor.flush(5)
    return {
        "memory": repr(monitor.metrics.operations) + repr(monitor.summary()) + repr(monitor.metrics.by_operation()),
        "costs": monitor.costs._text() + repr(monitor.costs.costs),
        "errors": monitor.errors._text() + repr(monitor.errors.latest),
        "prometheus": monitor.sinks[0].text(),
        "log": "\n".join(one.getMessage() + json.dumps(getattr(one, "toolweaver", None)) for one in logged),
        "another's sink": kept.text,
        "report": monitor._text(),
        "health": repr(monitor.health()) + repr(monitor.active()),
    }


def leaks(places: dict[str, str], secrets: Sequence[tuple[str, str]]) -> list[str]:
    """Which secret shows where: eight characters of its middle are too many, and so are its first ten."""
    found = []
    for name, secret in secrets:
        beginning = secret.partition("KEY-----\n")[2] or secret
        for place, text in places.items():
            if piece(secret) in text or beginning[:10] in text:
                found.append(f"{name} in {place}")
    return found


def raise_with_all(text: str, way: str) -> None:
    """Raise an error that carries the text in this way."""
    if way == "error text":
        raise ValueError(text)
    if way == "one of many arguments":
        raise RuntimeError("failed", 401, text)
    if way == "a dict in the arguments":
        raise RuntimeError({"url": text, "inner": [text]})
    if way == "cause":
        raise ValueError("see the cause") from ValueError(text)
    if way == "context":
        try:
            raise ValueError(text)  # noqa: TRY301 - the context of the other
        except ValueError:
            raise KeyError("see the context")  # noqa: B904
    if way == "notes":
        error = ValueError("see the notes")
        error.add_note(text)
        raise error
    if way == "members of a group":
        raise ExceptionGroup("see the members", [ValueError(text), KeyError(text)])
    if way == "message of a group":
        raise ExceptionGroup(text, [ValueError()])
    if way == "key":
        raise KeyError(text)
    if way == "file name":
        raise FileNotFoundError(2, "No such file or directory", text)
    if way == "a process's command":
        raise subprocess.CalledProcessError(1, ["client", text], output=text, stderr=text)
    if way == "bytes":
        raise ValueError(text.encode())


ERROR_WAYS = (
    "error text", "one of many arguments", "a dict in the arguments", "cause", "context", "notes", "members of a group",
    "message of a group", "key", "file name", "a process's command", "bytes",
)  # fmt: skip


@pytest.mark.parametrize("way", ERROR_WAYS)
def test_s1_no_secret_of_an_error_gets_into_any_sink(way: str, monitor: Monitor, kept: Kept, logged: Log) -> None:
    """200 secrets in the text of an error, its arguments, cause, context, notes and the members of a group: 0 leaks.

    In memory, costs, errors, Prometheus, the log, a third party's sink, the report and health(). Mutations that turned
    it red: `call._redact` left out of `CallEnricher`; given `cut` for `scrub`; `_find_secrets` without its second look,
    past what cannot be seen; no bytes of UTF-8 in `INVISIBLE`.
    """

    @monitored("tool")
    def tool(text: str) -> None:
        raise_with_all(text, way)

    for _, text, _ in CORPUS:
        with pytest.raises(Exception):  # noqa: B017, PT011 - whichever it is
            tool(text)
    assert leaks(everything(monitor, kept, logged), [(name, secret) for name, _, secret in CORPUS]) == []
    assert monitor.summary()["failures"] == len(CORPUS)


@pytest.mark.parametrize("lead", [0, 200, 230, 240, 245, 250, 254, 255, 256, 700, 760, 767])
def test_s1_no_cut_leaves_a_part_of_a_secret(lead: int, monitor: Monitor, kept: Kept, logged: Log) -> None:
    """A secret that the end of the shown text, or of the text that is looked at, would halve does not show at all.

    Mutation that turned it red: `text[:limit]` for `text[:limit + AHEAD]` in `redact.scrub`.
    """

    @monitored("tool")
    def tool(text: str) -> None:
        raise ValueError("x" * lead + " " + text)

    def told(text: str) -> None:
        with track("told", where="x" * (lead + 768) + " " + text) as call:
            call.record(model="x" * lead + " " + text)
            call.fail("x" * lead + " " + text)

    for _, text, _ in CORPUS:
        with pytest.raises(ValueError):  # noqa: PT011 - its text is what must not be shown
            tool(text)
        told(text)
    assert leaks(everything(monitor, kept, logged), [(name, secret) for name, _, secret in CORPUS]) == []


def test_s1_no_secret_that_follows_a_long_one_is_drawn_into_view(monitor: Monitor, kept: Kept, logged: Log) -> None:
    """Masks are shorter than secrets: what stood beyond the limit, and only half inside the window, stays out of view.

    Mutation that turned it red: the masked window, and not the masked 256 characters, cut to the limit.
    """
    long = next(text for name, text, _ in VALUES if name == "JWT longer than the window")[:600]

    @monitored("tool")
    def tool(text: str, fill: int) -> None:
        raise ValueError(f"{long} " + "." * fill + text)

    for _, text, _ in CORPUS:
        for fill in (144, 148, 151, 153, 155):
            with pytest.raises(ValueError, match="ey"):
                tool(text, fill)
    assert leaks(everything(monitor, kept, logged), [(name, secret) for name, _, secret in CORPUS]) == []


def test_s1_no_secret_of_names_tags_models_arguments_and_results(monitor: Monitor, kept: Kept, logged: Log) -> None:
    """Arguments and results are not kept at all; what a call records is scrubbed, also while it is still open.

    Mutations that turned it red: `safe_name` without `scrub`; tags not scrubbed in `_redact`, nor in `active()`.
    """
    for name, text, secret in VALUES:

        @monitored("reads")
        def reads(*args: Any, **kwargs: Any) -> dict[str, Any]:
            return {"text": args, "tokens_used": 3, "model": kwargs["text"], "provider": kwargs["text"]}

        reads(text, text=text)
        with track(text):
            pass
        monitored(tool_name=lambda found: found)(lambda _: None)(text)
        with track("tagged", url=text, **{text: "value"}) as call:
            call.record(model=text, provider=text, note=text)
            assert leaks({"active": repr(monitor.active())}, [(name, secret)]) == []
            call.fail(text)
    for _, text, secret in NAMED:
        with track("tagged", url=text, password=secret, api_key=secret) as call:
            call.record(note=text)
    assert leaks(everything(monitor, kept, logged), [(name, secret) for name, _, secret in CORPUS]) == []


def test_s1_no_secret_of_captured_arguments_and_results(kept: Kept, logged: Log) -> None:
    """With `capture=True` they are kept without secrets, by value and by the names of parameters and keys.

    Mutation that turned it red: `positional_parameters` giving no names; `is_secret_name` always False.
    """

    @monitored("login")
    def login(text: str, password: object, *rest: object, api_key: str = "", **more: object) -> dict[str, object]:
        return {"text": text, "accessToken": password, "deep": [{"client_secret": api_key}], "rest": rest, **more}

    with setup(PrometheusExporter(port=0), LogSink(level="DEBUG"), kept, capture=True) as monitor:
        for _, text, secret in CORPUS:
            login(text, secret, text, [text], {"password": secret}, api_key=secret, extra=text, auth={"nested": secret})
            login("x" * 1_000, secret, "x" * 1_020 + " " + text)
        places = everything(monitor, kept, logged)
    assert leaks(places, [(name, secret) for name, _, secret in CORPUS]) == []
    assert "password=[redacted]" in kept.text


def test_s1_no_secret_of_what_is_recorded_by_hand() -> None:
    """The collectors scrub alone, too: without `setup()` there is no bus to do it for them.

    Mutation that turned it red: `scrub` left out of `view.make_call`.
    """
    metrics, costs, errors = MetricsCollector(), CostTracker(), ErrorTracker()
    for name, text, _ in CORPUS:
        metrics.record("tool", 1.0, success=False, error=text)
        errors.record_call("tool", False, text)
        errors.record_call("tool", False, ValueError(text))  # type: ignore[arg-type]  # as people do
        if (name, text) in {(name, text) for name, text, _ in VALUES}:
            costs.record(text, 0.1)
    places = {
        "memory": repr(metrics.operations) + repr(metrics.by_operation()),
        "costs": costs._text(),
        "errors": errors._text() + repr(errors.latest),
    }
    assert leaks(places, [(name, secret) for name, _, secret in CORPUS]) == []


def test_s1_who_says_redact_false_gets_the_text() -> None:
    """`setup(redact=False)` keeps what it is given: the secrets are your own choice then.

    Mutation that turned it red: `CallEnricher(True, ...)` in `setup`.
    """
    name, text, secret = VALUES[0]
    with setup(redact=False) as monitor, track("tool") as call:
        call.fail(text)
    assert secret in monitor.errors.latest[0]["error"], name


RAISED = re.compile(r"""raise \w+\(\s*f?(["'])((?:(?!\1)[^\\\n])+)\1""")
GAP = re.compile(r"%[rsd]|\{[^{}]*\}")


def benign() -> list[str]:
    """Return the error messages of the standard library, which contain no secret."""
    found: set[str] = set()
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if not {"site-packages", "test", "tests"} & set(path.parts):
            found |= {GAP.sub("'value-7'", text) for _, text in RAISED.findall(path.read_text("utf-8", "replace"))}
    return sorted(text for text in found if " " in text)


EVERYDAY = (
    "max_tokens=4096 is more than the model takes", "prompt_tokens: 812, completion_tokens: 64, total_tokens: 876",
    "Unexpected token: end of file", "token: unexpected end of file",
    "pass: 3, fail: 2", "task-550e8400-e29b-41d4-a716-446655440000 timed out",
    "KeyError: 'api_key'", "password is required", "basic authentication failed", "the bearer of bad news",
    "commit da39a3ee5e6b4b0d3255bfef95601890afd80709", "id 550e8400-e29b-41d4-a716-446655440000 not found",
    "GET http://localhost:8000/v1/items?page=2&limit=50 gave 404", "nginx:1.25@sha256:4c0fdaa8b634 not found",
    "hf_summarize_long_documents", "npm_install_package_for_user", "read_receipt", "sk-learn is not installed",
    "author: Ada", "secretary: Grace", "the key 'total' is missing", "cannot connect to 10.0.0.5:5432",
    "/home/user/projects/receipts/input/2026-01-01/receipt_0001.jpg", "rate limit reached: 60 requests per minute",
    "disk_usage_report_for_2026_q1 is empty", "invalid literal for int() with base 10: 'x'", "session 12 has ended",
)  # fmt: skip

WORDS = (
    "npm ERR! lodash@4.17.21 not found",
    "npm ERR! 404 '@types/node@20.1.0' is not in this registry",
    "python@3.11.7",
    "github.com/spf13/cobra@v1.8.0: not found",
    "git@github.com:org/repo.git",
    "fatal: repository ssh://git@github.com:22/org/repo.git not found",
    "git+ssh://git@gitlab.com/org/repo.git@main failed",
    "hg@bitbucket.org/team/repo",
    "golang.org/x/tools@v0.0.0-20191109021931-daa7c04131f5: unknown revision",
    "react@19.0.0-rc.1",
    "pkg@1.0.0-beta.final",
    "eslint@npm:eslint@8.57.0",
    "https://unpkg.com/react@18.2.0/umd/react.js gave 404",
    "icon@2x.png is missing",
    "actions/checkout@v4",
    "Invalid token: expected ',' but got '}'",
    "InvalidToken: expected a string",
    "jwt.InvalidTokenError: Signature verification failed",
    "Unexpected token '}' at line 3 column 17",
    "Unexpected token < in JSON at position 1024",
    "SyntaxError: Unexpected token: punc (,)",
    "Unrecognized token 'hello': was expecting (JSON String, Number, Array)",
    "invalid token: 'x' at line 12",
    "credentials: not found",
    "Credentials: invalid user name",
    "access token: expired",
    "refresh token: is revoked",
    "session token: missing",
    "api key: required",
    "token_type=bearer expires_in=3600",
    "token_type=Bearer scope=read_2",
    "the basic idea12345",
    "basic config_file_v2",
    "Token limit_exceeded_for_model",
    "token classification-head-missing-here",
    "Token limit_exceeded_for_gpt_4o_mini",
    "password: field required",
    "password: This field is required.",
    "{'password': ['This field is required.']}",
    '{"password": ["This field may not be blank."]}',
    "password: must be at least 8 characters",
    "password is 8 characters long",
    "secret is 32, not 64",
    "argument --password: expected one argument",
    "Error: Option '--password' requires an argument.",
    "Missing option '--token'.",
    "the following arguments are required: --token, --user",
    "docker run --user 1000:1000 app",
    "docker run -u 0:0",
    "Could not automatically determine credentials. Please set GOOGLE_APPLICATION_CREDENTIALS",
    "Unable to locate credentials",
    "credentials: [Errno 2] No such file or directory",
    "no credentials: run `aws configure`",
    "Method cannot contain non-token characters '\\x00'",
    "Missing Sec-WebSocket-Key header",
    "this supports only API-key auth.",
    "this thread was not created by Trio, pass kwarg trio_token=...",
    "with_signature accepts only one of prototype=, signature=, or factory=",
    "secret: not found",
    "client secret: is empty",
    "Authorization: missing",
    "Authorization: not allowed for this user",
    "authentication token: expired 5 minutes ago",
    "the token is 512 tokens too long",
    "token 151643 is not in the vocabulary",
    "tokens: 512",
    "Passwort: falsch",
    "mysql -p shop < dump.sql",
    "mysql: [Warning] Using a password on the command line interface can be insecure.",
    "mysqldump --port=3306 -P 3306 shop",
    "\u5bc6\u7801\u9519\u8bef",
    "contrase\xf1a: incorrecta",
    'error="invalid_token", error_description="The access token expired"',
    "Bearer token is missing",
    "Basic auth: wrong user",
    "sshpass: command not found",
    "the secret-key-base is unset",
    "Passwort fehlt",
    "no credentials: run `aws configure`",
    "Method cannot contain non-token characters '\\x00'",
    "Missing Sec-WebSocket-Key header",
    "this supports only API-key auth.",
    "this thread was not created by Trio, pass kwarg trio_token=...",
    "with_signature accepts only one of prototype=, signature=, or factory=",
)
"""Words beside the names of secrets, in errors of parsers, package managers, forms and command lines."""


def test_s1_words_beside_the_name_of_a_secret_stay() -> None:
    """A version is no domain, and a word of the language no token: what an error says is there to be read.

    Seen red: with the patterns before, which changed 49 of the first 74.
    """
    assert [text for text in WORDS if scrub(text) != text] == []


def test_s1_what_is_no_secret_stays_as_it_is() -> None:
    """At most 1 % of a thousand messages of the standard library lose anything, and none of the everyday ones here.

    Mutation that turned it red: `_OFTEN` without the look at the value (`token: unexpected end of file`).
    """
    messages = benign()
    assert len(messages) >= 1_000
    changed = [text for text in messages if scrub(text, 2_000) != text]
    print(f"S1: {len(changed)} of {len(messages)} messages of the standard library lose anything")
    assert len(changed) <= len(messages) // 100, changed
    assert [text for text in EVERYDAY if scrub(text) != text] == []


def test_s1_the_corpus_is_large_enough() -> None:
    """The contract asks for 60 secrets; no file of this repository holds one of them.

    Seen red: with only the first 50 in `CORPUS`; with one of them written out in a file beside.
    """
    assert len({secret for _, _, secret in CORPUS}) >= 60
    here = Path(__file__).parent
    text = "".join(path.read_text() for path in here.glob("*.py"))
    assert [name for name, _, secret in CORPUS if secret in text and not name.startswith("e-mail")] == []
    assert sys.getsizeof(text) > 10_000
