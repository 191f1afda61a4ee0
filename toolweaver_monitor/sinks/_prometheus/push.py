"""Metrics of short jobs, which end before they are scraped: a Pushgateway, and a file for node_exporter."""

from __future__ import annotations

import base64
import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from toolweaver_monitor.errors import ConfigurationError, SinkUnavailable
from toolweaver_monitor.sinks._prometheus.labels import LABEL_NAME, RESERVED

log = logging.getLogger("toolweaver_monitor")

PathOrText = str | os.PathLike[str]
FOLDER_CURE = "give a folder that node_exporter reads (--collector.textfile.directory), and the right to write there"
PUSH_TIMEOUT_S = 2.0
"""For one request to the gateway, as long as the end of a program waits for any sink."""


class Gateway:
    """A Pushgateway, and the group that a job's metrics have there.

    Args:
        url: its address, such as `"http://gateway:9091"`; a user and a password in it are sent as Basic authentication.
        job: the value of the label `job`.
        grouping_key: further labels of the group, such as `{"instance": "worker-3"}`.

    Raises:
        ConfigurationError: an argument cannot be used; its `hint` names the fix.
    """

    def __init__(self, url: str, job: str | None, grouping_key: Mapping[str, str] | None) -> None:
        parts = urlsplit(url if "://" in str(url) else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"gateway={url!r} is not an address", hint='give one, as "http://gateway:9091"')
        if not isinstance(job, str) or not job:
            raise ConfigurationError("gateway= needs a job", hint='name it: PrometheusExporter(..., job="nightly")')
        labels = dict(grouping_key or {})
        for label in labels:
            if not LABEL_NAME.fullmatch(label) or label in ("job", *RESERVED):
                raise ConfigurationError(f"grouping_key= cannot have {label!r}", hint="give the label another name")
        group = "/".join([_path_of(label, str(value)) for label, value in {"job": job, **labels}.items()])
        self.address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._url = f"{self.address}{parts.path.rstrip('/')}/metrics/{group}"
        self._headers = {}
        if parts.username is not None:
            secret = base64.b64encode(f"{parts.username}:{parts.password or ''}".encode()).decode()
            self._headers["Authorization"] = f"Basic {secret}"

    def push(self, body: bytes, content_type: str) -> None:
        """Replace the metrics of the group.

        Raises:
            SinkUnavailable: the gateway does not take them.
        """
        self._send("PUT", body, {"Content-Type": content_type})

    def delete(self) -> None:
        """Delete the group.

        Raises:
            SinkUnavailable: the gateway does not answer.
        """
        self._send("DELETE", None, {})

    def _send(self, method: str, body: bytes | None, headers: Mapping[str, str]) -> None:
        faults: list[BaseException | None] = []

        def send() -> None:
            from urllib.error import HTTPError  # 30 ms
            from urllib.request import Request, urlopen

            request = Request(self._url, data=body, headers={**self._headers, **headers}, method=method)  # noqa: S310
            try:
                with urlopen(request, timeout=PUSH_TIMEOUT_S):  # noqa: S310 - the scheme has been looked at
                    faults.append(None)
            except HTTPError as error:
                faults.append(error)
                error.close()
            except Exception as error:  # noqa: BLE001 - a name that cannot be looked up fails in many ways
                faults.append(error)

        thread = threading.Thread(target=send, name="toolweaver-monitor push", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # at the very end of a program no thread can be started (CPython < 3.12.2)
            send()
        else:
            thread.join(PUSH_TIMEOUT_S)
        fault = faults[0] if faults else TimeoutError(f"no answer within {PUSH_TIMEOUT_S:.0f} s")
        if fault is not None:
            hint = "see whether the Pushgateway runs there, and takes this job's metrics"
            raise SinkUnavailable(f"the Pushgateway at {self.address} failed: {fault}", hint=hint) from None


def _path_of(label: str, value: str) -> str:
    if value and "/" not in value:
        return f"{label}/{quote(value, safe='')}"
    return f"{label}@base64/{base64.urlsafe_b64encode(value.encode()).decode() or '='}"


class EndTargets:
    """Where the metrics go when the program ends: a Pushgateway, a textfile, or both.

    Args:
        gateway: the gateway; None for none.
        textfile: the path of the file; None for none.
    """

    def __init__(self, gateway: Gateway | None, textfile: Path | None) -> None:
        self._gateway, self._textfile = gateway, textfile
        self._begun_by: int | None = None

    @staticmethod
    def of(
        gateway: str | None, job: str | None, grouping_key: Mapping[str, str] | None, path: PathOrText | None
    ) -> EndTargets:
        """Return what the arguments of an exporter name.

        Raises:
            ConfigurationError: an argument cannot be used; its `hint` names the fix.
        """
        if gateway is None and (job is not None or grouping_key is not None):
            raise ConfigurationError("job= and grouping_key= go with gateway=", hint='gateway="http://gateway:9091"')
        if path is not None and not str(path).endswith(".prom"):
            raise ConfigurationError(
                f"node_exporter does not read {str(path)!r}", hint="use a name that ends with .prom"
            )
        target = None if gateway is None else Gateway(gateway, job, grouping_key)
        return EndTargets(target, None if path is None else Path(path))

    def __bool__(self) -> bool:
        return self._gateway is not None or self._textfile is not None

    def begin(self) -> None:
        """Have the end of this process write. A forked child has its own figures, and leaves none.

        Raises:
            SinkUnavailable: the folder of the textfile is not there.
        """
        self._begun_by = os.getpid()
        if self._textfile is not None and not self._textfile.parent.is_dir():
            raise SinkUnavailable(f"{self._textfile} cannot be written (there is no such folder)", hint=FOLDER_CURE)

    def end(self, render: Callable[[], tuple[bytes, str]]) -> None:
        """Write the metrics if this process is the one that began; a fault is a line in the log."""
        if not self or self._begun_by != os.getpid():
            return
        self._begun_by = None
        try:
            self.write(*render())
        except SinkUnavailable as error:
            log.warning("the metrics of this run are lost: %s", error)

    def write(self, body: bytes, content_type: str) -> None:
        """Write the file and push to the gateway.

        Raises:
            ConfigurationError: there is neither.
            SinkUnavailable: one of them does not take the metrics.
        """
        if not self:
            raise ConfigurationError("there is nothing to push to", hint="give gateway= and job=, or textfile=")
        try:
            if self._textfile is not None:
                _write_in_one_step(self._textfile, body)
        finally:
            if self._gateway is not None:
                self._gateway.push(body, content_type)

    def delete(self) -> None:
        """Delete the group at the gateway; the end of this process then writes nothing.

        Raises:
            ConfigurationError: there is no gateway.
            SinkUnavailable: the gateway does not answer.
        """
        if self._gateway is None:
            raise ConfigurationError("there is no gateway", hint="give PrometheusExporter(gateway=..., job=...)")
        self._begun_by = None
        self._gateway.delete()


def _write_in_one_step(path: Path, body: bytes) -> None:
    """Write a file: node_exporter reads the earlier one or this one, and never a part."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # no name that node_exporter would read
    try:
        try:
            beside.write_bytes(body)
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SinkUnavailable(f"{path} cannot be written ({error.strerror or error})", hint=FOLDER_CURE) from None
