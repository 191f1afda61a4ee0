"""The port of an endpoint: listen on it, wait for it while it is taken, and report on both."""

from __future__ import annotations

import errno
import logging
import math
import os
from typing import Any

from toolweaver_monitor._http.default_port import choose_port
from toolweaver_monitor._http.endpoint import Endpoint
from toolweaver_monitor._http.port_wait import PortWait
from toolweaver_monitor.errors import SinkUnavailable

log = logging.getLogger("toolweaver_monitor")

WAIT_FOR_PORT_S = 60.0
"""As long as the connections of an earlier process can hold a port."""
FORK_CURE = "call setup() in it, with a port of its own"


class Listener:
    """What starts the endpoint of a sink.

    Args:
        endpoint: the endpoint.
        sink: the class of the sink, for the cure of a port that is taken.
        serves: what the log says of it, before the address.
        usual_port: the port if the user has given none, and no web server may want it; None if the user has given one.
    """

    def __init__(self, endpoint: Endpoint, sink: str, serves: str, usual_port: int | None = None) -> None:
        self._endpoint, self._serves, self._usual_port = endpoint, serves, usual_port
        self._cure = f"stop what uses the port, or give another: {sink}(port=...), port=0 takes a free one"
        self._port_reason = ""
        self._name = endpoint.name
        self.shared: Any = None
        """What joins the counts of all workers, if they are joined; then one of them listens, and the others wait."""
        self._wait: PortWait | None = None
        self._fault = ""
        self.started_by: int | None = None
        """The process that has started it, which may be the parent of this one."""

    @property
    def waiting(self) -> bool:
        """Whether it waits for the port."""
        return self._wait is not None and self._wait.waiting

    def start(self, name: str, *, has_setup: bool) -> None:
        """Start to listen. In a setup a port that is taken is tried again each second for a minute, on a thread.

        Args:
            name: what the log calls the sink.
            has_setup: whether a setup starts the sink.

        Raises:
            SinkUnavailable: the port is taken, without a setup, or may not be bound; its `hint` names the fix.
        """
        self._name = name
        if self._usual_port is not None:
            self._endpoint.port, self._port_reason = choose_port(self._usual_port)
        self.started_by, self._fault = os.getpid(), ""
        try:
            self._listen()
        except OSError as error:
            fault = self._describe(error)
            if not has_setup or error.errno != errno.EADDRINUSE:
                raise SinkUnavailable(fault, hint=self._cure) from None
            if self.shared is None:
                self._fault = f"waiting for the port, tried each second for a minute: {fault}; {self._cure}"
                log.warning("sink %r is %s", name, self._fault)
            try:
                wait_s = WAIT_FOR_PORT_S if self.shared is None else math.inf
                self._wait = PortWait(self._listen, self._endpoint.close, wait_s, self._end_wait, name)
            except RuntimeError:  # no thread can be started
                raise SinkUnavailable(fault, hint=self._cure) from None
        else:
            self._log_url()

    def _listen(self) -> None:
        """Start to listen; among joined workers, on a port that one of them has had until now."""
        shared, endpoint = self.shared, self._endpoint
        if shared is not None and endpoint.port:
            endpoint.takes_over = shared.folder.has_had_port(endpoint.addr, endpoint.port)
        endpoint.start()
        self.note_port()

    def note_port(self) -> None:
        """Tell joined workers that this one listens, if it does."""
        if self.shared is not None and self._endpoint.listening:
            self.shared.folder.note_port(self._endpoint.addr, self._endpoint.port)

    def _describe(self, error: OSError) -> str:
        return f"cannot listen on {self._endpoint.addr}:{self._endpoint.port} ({error.strerror or error})"

    def _end_wait(self, error: OSError | None) -> None:
        """Log how the wait for the port has ended."""
        if error is None:
            self._fault = ""
            self._log_url()
        else:
            self._fault = f"{self._describe(error)}; {self._cure}"
            log.warning("sink %r is off: %s", self._name, self._fault)

    def _log_url(self) -> None:
        reason = f" ({self._port_reason})" if self._port_reason else ""
        log.info("%s on %s%s", self._serves, self._endpoint.url, reason)

    def status(self, *, reports_fork: bool) -> dict[str, Any]:
        """Return whether and where it listens, and what is wrong, for `health()`.

        Args:
            reports_fork: whether it is wrong that a forked child does not listen.
        """
        listening = self._endpoint.listening
        status: dict[str, Any] = {"listening": listening, "url": self._endpoint.url if listening else None}
        if self._port_reason:
            status["port_reason"] = self._port_reason
        shared = self.shared
        is_fork = not listening and self.started_by not in (None, os.getpid())
        if is_fork and reports_fork and shared is None:
            fault, cure = f"this process is a fork of the one that serves the metrics; {FORK_CURE}", FORK_CURE
        elif (
            self.waiting
            and shared is not None
            and not shared.folder.has_had_port(self._endpoint.addr, self._endpoint.port)
        ):
            port = self._endpoint.port
            fault, cure = f"port {port} is taken by a process that is none of these workers; {self._cure}", self._cure
        else:
            fault, cure = self._fault, self._cure
        return status | ({"state": "unavailable", "last_error": fault, "cure": cure} if fault else {})

    def close(self) -> None:
        """Stop waiting for the port. The sink closes the endpoint."""
        wait, self._wait = self._wait, None
        if wait is not None:
            wait.stop(timeout_s=1.0)
        self._fault = ""
