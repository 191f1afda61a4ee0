"""Who may read: addresses, host names, tokens and certificates, and the rules made of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from toolweaver_monitor._http.messages import Response, error_response, parse_hostname
from toolweaver_monitor.errors import ConfigurationError

ASK_IN_BROWSER = (("WWW-Authenticate", 'Basic realm="toolweaver_monitor", charset="UTF-8"'),)
"""Has a browser ask for the token, as the password of any user."""


class BearerToken:
    """The token that a request must carry. Only its digest is kept: no dump, `repr` or debugger shows the token.

    It may also come as the password of Basic authentication, which a browser asks for, with any user name.

    Args:
        token: printable ASCII without spaces.

    Raises:
        ConfigurationError: the token is anything else.
    """

    def __init__(self, token: object) -> None:
        if not isinstance(token, str):
            raise ConfigurationError(f"token= is of type {type(token).__name__}", hint="give a long random text")
        if not token:
            raise ConfigurationError("token= is empty", hint="give a long random text, or leave it out")
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise ConfigurationError("token= cannot stand in a header", hint="give printable ASCII without spaces")
        self._digest = _digest(token)

    def matches(self, authorization: str) -> bool:
        """Return True if an `Authorization` header carries the token. The time this takes reveals nothing of it."""
        import hmac  # with OpenSSL behind it: 5 ms

        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "basic":
            token = _password_of(token)
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(_digest(token.strip()), self._digest)


def _password_of(credentials: str) -> str:
    """Return the password in the credentials of Basic authentication (RFC 7617); empty if there is none."""
    import base64
    import binascii

    try:
        return base64.b64decode(credentials.strip(), validate=True).decode("utf-8", "replace").partition(":")[2]
    except binascii.Error:
        return ""


def _digest(token: str) -> bytes:
    import hashlib  # as above

    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


class AccessRules:
    """Who may read: those who send the token; without one, requests that name an allowed host.

    Args:
        token: the token that `Authorization: Bearer ...` must carry.
        allowed_hosts: host names to answer to, besides those of loopback; checked only without a token.
        insecure: answer without a token beyond loopback.

    Raises:
        ConfigurationError: an argument cannot be used.
    """

    def __init__(self, token: str | None, allowed_hosts: Sequence[str] | None, insecure: object) -> None:
        self.token = BearerToken(token) if token is not None else None
        self.hosts = validate_hosts(allowed_hosts)
        if insecure not in (True, False):
            raise ConfigurationError(f"insecure must be True or False, not {insecure!r}")
        self.insecure = insecure is True

    def reject(self, method: str, headers: Mapping[str, str], own_hosts: Collection[str]) -> Response | None:
        """Return the error for a request that is not allowed, else None.

        Args:
            method: the method of the request.
            headers: its headers, by names in lower case.
            own_hosts: the addresses that the server itself has.
        """
        if self.token is not None:
            if not self.token.matches(headers.get("authorization", "")):
                return error_response(401, "a token is required; send it as Authorization: Bearer ...")
        elif not self.is_allowed_host(parse_hostname(headers.get("host", "")), own_hosts):
            return error_response(
                403, "this Host is not allowed; allow it with allowed_hosts=['name'], or require a token with token="
            )
        if method not in ("GET", "HEAD"):
            return error_response(405, "only GET and HEAD are supported")
        return None

    def is_allowed_host(self, host: str, own_hosts: Collection[str]) -> bool:
        """Return True if a request without a token may name this host."""
        return host in self.hosts or host in own_hosts or is_loopback(host)


def validate_port(port: object) -> int:
    """Return the port.

    Raises:
        ConfigurationError: it is not a port.
    """
    if type(port) is not int or not 0 <= port <= 65535:
        raise ConfigurationError(
            f"port={port!r} is not a port", hint="give a number from 0 to 65535 (0 takes a free one)"
        )
    return port


def validate_addr(addr: object) -> str:
    """Return the address or host name to bind, in lower case and without brackets.

    Raises:
        ConfigurationError: it is not text, or empty, which for a socket means every address of the machine.
    """
    if not isinstance(addr, str) or not addr.strip():
        raise ConfigurationError(
            f"addr={addr!r} is not an address", hint="give one, such as '127.0.0.1', '::1' or '0.0.0.0'"
        )
    return addr.strip().lower().removeprefix("[").removesuffix("]")


def validate_hosts(hosts: object) -> tuple[str, ...]:
    """Return the names that a Host header may have, in lower case and without ports.

    Raises:
        ConfigurationError: the argument is not a list of names.
    """
    if hosts is None:
        return ()
    items: Sequence[object] = [None] if isinstance(hosts, str) or not isinstance(hosts, Sequence) else hosts
    names = tuple(
        parse_hostname(host) or parse_hostname(f"[{host}]") if isinstance(host, str) else "" for host in items
    )
    if not all(names):
        raise ConfigurationError(
            f"allowed_hosts={hosts!r} is not a list of names", hint="write allowed_hosts=['monitor.internal']"
        )
    return names


def is_loopback(host: str) -> bool:
    """Return True if an address or a name can only be this machine."""
    if host in ("localhost", "127.0.0.1"):
        return True
    import ipaddress  # 1 ms, and most endpoints are on the address above

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def normalize_address(local: str) -> str:
    """Return an address as a Host header spells it: without a zone, and IPv4 in its own form."""
    return local.partition("%")[0].removeprefix("::ffff:")


def make_tls_context(certfile: str | os.PathLike[str] | None, keyfile: str | os.PathLike[str] | None) -> Any:
    """Return the `ssl.SSLContext` that encrypts connections, or None without a certificate.

    Raises:
        ConfigurationError: a file is missing or has the wrong content.
    """
    if certfile is None:
        if keyfile is not None:
            raise ConfigurationError("keyfile= is given without its certificate", hint="give certfile=, too")
        return None
    for argument, file in (("certfile", certfile), ("keyfile", keyfile)):
        if file is not None and not (isinstance(file, str | os.PathLike) and os.path.isfile(file)):  # noqa: PTH113 - pathlib is 2 ms
            raise ConfigurationError(f"{argument}={file!r} is not a readable file", hint="give the path of a PEM file")
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certfile, keyfile, password=lambda: "")  # or OpenSSL asks for one on the terminal
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"certfile={os.fspath(certfile)!r} cannot be used ({getattr(error, 'reason', None) or error})",
            hint="give a certificate and its key in PEM, the key not encrypted",
        ) from None
    return context
