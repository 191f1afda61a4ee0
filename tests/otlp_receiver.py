"""A real OTLP/HTTP receiver for tests: it keeps what it is sent, as opentelemetry-proto reads it."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Receiver:
    """Answers at `url`, and as `answers` say first: statuses, with `Retry-After` if they are pairs."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, Any]] = []
        self.metrics: dict[str, Any] = {}
        self.answers: list[int | tuple[int, str]] = []
        self.requests = 0
        self.delay_s = 0.0
        self.headers: list[dict[str, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Encoding"] == "gzip":
                    body = gzip.decompress(body)
                receiver.requests += 1
                receiver.headers.append(dict(self.headers))
                time.sleep(receiver.delay_s)
                answer = receiver.answers.pop(0) if receiver.answers and self.path == "/v1/traces" else 200
                status, retry_after = answer if isinstance(answer, tuple) else (answer, "")
                if status == 200:
                    receiver.take(self.path, body)
                self.send_response(status)
                if retry_after:
                    self.send_header("Retry-After", retry_after)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def serve_tls(self, certfile: str, keyfile: str) -> None:
        """Take only connections by TLS from now on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certfile, keyfile)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for part in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.append({each.key: each.value.string_value for each in part.resource.attributes})
                self.spans += [span for scope in part.scope_spans for span in scope.spans]
        else:
            for part in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.metrics |= {metric.name: metric for scope in part.scope_metrics for metric in scope.metrics}

    def named(self, name: str) -> Any:
        """The only span of this name."""
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def attributes(point: Any) -> dict[str, Any]:
    """The attributes of a span or of a data point as a dict."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in point.attributes}
