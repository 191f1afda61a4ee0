"""Which addresses, names, tokens and certificates may an endpoint be given? Mistakes are told with their cure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from toolweaver_monitor._http.messages import hostname
from toolweaver_monitor.errors import ConfigurationError


class Token:
    """What a request must carry. Only its digest is kept: no dump, `repr` or debugger shows the token.

    Args:
        token: printable ASCII without spaces.

    Raises:
        ConfigurationError: it is something else.
    """

    def __init__(self, token: object) -> None:
        if not isinstance(token, str):
            raise ConfigurationError(f"token= is of type {type(token).__name__}; give a long random text")
        if not token:
            raise ConfigurationError("token= is empty; give a long random text, or leave it out")
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise ConfigurationError("token= cannot stand in a header; give printable ASCII without spaces")
        self._digest = _digest(token)

    def is_in(self, authorization: str) -> bool:
        """Whether an `Authorization` header carries it. How long that takes does not tell how near it is."""
        import hmac  # with OpenSSL behind it: 5 ms

        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(_digest(token.strip()), self._digest)


def _digest(token: str) -> bytes:
    import hashlib  # as above

    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def validate_port(port: object) -> int:
    """A port.

    Raises:
        ConfigurationError: it is none.
    """
    if type(port) is not int or not 0 <= port <= 65535:
        raise ConfigurationError(f"port={port!r} is not a port; give a number from 0 to 65535 (0 takes a free one)")
    return port


def validate_addr(addr: object) -> str:
    """An address or a name to bind, in lower case and without brackets.

    Raises:
        ConfigurationError: it is no text, or empty, which to a socket would mean every address there is.
    """
    if not isinstance(addr, str) or not addr.strip():
        raise ConfigurationError(f"addr={addr!r} is not an address; give one, such as '127.0.0.1', '::1' or '0.0.0.0'")
    return addr.strip().lower().removeprefix("[").removesuffix("]")


def validate_hosts(hosts: object) -> tuple[str, ...]:
    """Names that a Host header may have, in lower case and without ports.

    Raises:
        ConfigurationError: they are no list of names.
    """
    if hosts is None:
        return ()
    given: Sequence[object] = [None] if isinstance(hosts, str) or not isinstance(hosts, Sequence) else hosts
    names = tuple(hostname(host) or hostname(f"[{host}]") if isinstance(host, str) else "" for host in given)
    if not all(names):
        raise ConfigurationError(
            f"allowed_hosts={hosts!r} is not a list of names; write allowed_hosts=['monitor.internal']"
        )
    return names


def is_loopback(host: str) -> bool:
    """Whether an address or a name can only be this machine."""
    if host in ("localhost", "127.0.0.1"):
        return True
    import ipaddress  # 1 ms, and most endpoints are on the address above

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def plain_address(local: str) -> str:
    """An address as a Host header would spell it: without a zone, and IPv4 as such."""
    return local.partition("%")[0].removeprefix("::ffff:")


def tls_context(certfile: str | os.PathLike[str] | None, keyfile: str | os.PathLike[str] | None) -> Any:
    """What encrypts connections; None without a certificate.

    Raises:
        ConfigurationError: a file is missing, or is not what it should be.
    """
    if certfile is None:
        if keyfile is not None:
            raise ConfigurationError("keyfile= is given without its certificate; give certfile=, too")
        return None
    for argument, file in (("certfile", certfile), ("keyfile", keyfile)):
        if file is not None and not (isinstance(file, str | os.PathLike) and os.path.isfile(file)):  # noqa: PTH113 - pathlib is 2 ms
            raise ConfigurationError(f"{argument}={file!r} is not a readable file; give the path of a PEM file")
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certfile, keyfile, password=lambda: "")  # or OpenSSL would ask for one at the terminal
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"certfile={os.fspath(certfile)!r} cannot be used ({getattr(error, 'reason', None) or error}); "
            "give a certificate and its key in PEM, the key not encrypted"
        ) from None
    return context
