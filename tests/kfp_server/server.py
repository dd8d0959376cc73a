"""A Kubeflow Pipelines server for tests: API v2beta1 over HTTP, durable, with faults on order.

    python tests/kfp_server/server.py --state DIR [--port 0] [--swagger FILE] ...

prints one line of JSON, ``{"url": ...}``, when it answers. Requests and answers are held against
``kfp_server_api``'s models, and against the Swagger file when there is one; an answer that
breaks the interface is a 599 that says so. It runs no pods. What becomes of a run is said
by the hooks below ``/_test`` (see ``hooks``), or by ``--execute FOLDER``: then the run's steps
are really run, by the local runner, in a process of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import ssl
import sys
import threading
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

sys.path.insert(0, str(Path(__file__).parent))

import contract
import hooks
from api import Api, LogRefused, Refused
from state import State

PREFIX = "/apis/v2beta1"


class Server(ThreadingHTTPServer):
    """Holds what the handlers share."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, given: argparse.Namespace) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.state = State(given.state)
        # One request at a time touches the state, as in one transaction of a database.
        self.turn = threading.Lock()
        self.api = Api(self.state, multi_user=given.multi_user)
        self.swagger = contract.Swagger(given.swagger) if given.swagger else None
        self.faults = hooks.Faults()
        self.requests: list[dict[str, Any]] = []
        self.token = ""
        self.executor = hooks.Executor(self.state, given.execute) if given.execute else None


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        if parts.path.startswith("/_test/"):
            self._send(*hooks.handle(self.server, method, parts.path, body))
            return
        authorization = self.headers.get("Authorization", "")
        self.server.requests.append(
            {"method": method, "path": self.path, "authorization": authorization}
        )
        fault = self.server.faults.take(method, parts.path)
        if fault.get("held"):
            self.server.faults.released.wait(120)
        if fault.get("cut") == "before":
            self.close_connection = True
            self.connection.close()
            return
        if fault.get("html"):
            self._send(200, "<html>please log in</html>", "text/html")
            return
        if fault.get("status"):
            text = fault.get("message", "on order")
            self._send(fault["status"], {"code": 14, "message": text, "details": []})
            return
        if self.server.token and authorization != f"Bearer {self.server.token}":
            message = "Unauthenticated: the token has expired"
            self._send(401, {"code": 16, "message": message, "details": []})
            return
        older = parts.path.split("/")
        if older[2:3] in (["v1beta1"], ["v1alpha1"]):
            with self.server.turn:
                self._send(*self._older([unquote(word) for word in older[3:]]))
            return
        with self.server.turn:
            status, answer = self._checked(method, parts.path, parts.query, body)
        if fault.get("cut") == "after":
            self.close_connection = True
            self.connection.close()
            return
        self._send(status, answer)

    def _checked(self, method: str, path: str, text: str, body: bytes) -> tuple[int, Any]:
        query = dict(parse_qsl(text))
        uploaded = path.endswith("/upload")
        try:
            given = json.loads(body) if body and not uploaded else None
            template = ""
            if self.server.swagger:
                template = self.server.swagger.route(method, path)
                self.server.swagger.request(method, template, query, given)
            kind, status, answer = self._routed(method, path, query, given, body)
            contract.by_models(kind, answer)
            if self.server.swagger:
                self.server.swagger.response(method, template, status, answer)
        except contract.Broken as broken:
            return 599, {"code": 13, "message": f"breaks the interface: {broken}", "details": []}
        except ValueError as error:
            return 400, {"code": 3, "message": f"not JSON: {error}", "details": []}
        return status, answer

    def _older(self, words: list[str]) -> tuple[Any, ...]:
        """Answer what no Swagger file of v2beta1 has: a run's workflow, a pod's log."""
        try:
            match words:
                case ["runs", name]:
                    return 200, self.server.api.workflow(name)
                case ["runs", name, "nodes", pod, "log"]:
                    return 200, self.server.api.log(name, pod), "text/plain"
        except (Refused, LogRefused) as error:
            return error.status, error.body
        return 404, {"code": 5, "message": "Not Found", "details": []}

    def _routed(
        self, method: str, path: str, query: dict[str, str], given: Any, body: bytes
    ) -> tuple[str, int, Any]:
        """Return the type of the answer, its status and the answer."""
        api = self.server.api
        words = unquote(path.removeprefix(PREFIX)).strip("/").split("/")
        try:
            match method, words:
                case "GET", ["healthz"]:
                    return "V2beta1GetHealthzResponse", 200, api.healthz()
                case "GET", ["experiments"]:
                    return "V2beta1ListExperimentsResponse", 200, api.list_experiments(query)
                case "POST", ["experiments"]:
                    contract.by_models("V2beta1Experiment", given)
                    return "V2beta1Experiment", 200, api.create_experiment(given)
                case "GET", ["experiments", name]:
                    return "V2beta1Experiment", 200, api.get_experiment(name)
                case "GET", ["runs"]:
                    return "V2beta1ListRunsResponse", 200, api.list_runs(query)
                case "POST", ["runs"]:
                    contract.by_models("V2beta1Run", given)
                    made = api.create_run(given)
                    if self.server.executor:
                        self.server.executor.begin(self.server.state.run(made["run_id"]))
                    return "V2beta1Run", 200, made
                case "GET", ["runs", name]:
                    return "V2beta1Run", 200, api.get_run(name)
                case "POST", ["runs", name] if name.endswith(":terminate"):
                    return "object", 200, api.terminate(name.removesuffix(":terminate"))
                case "POST", ["runs", name] if name.endswith(":archive"):
                    return "object", 200, api.store(name.removesuffix(":archive"), "ARCHIVED")
                case "POST", ["runs", name] if name.endswith(":unarchive"):
                    return "object", 200, api.store(name.removesuffix(":unarchive"), "AVAILABLE")
                case "POST", ["pipelines", "upload"]:
                    return "V2beta1Pipeline", 200, api.upload(query, self._file(body))
                case "GET", ["pipelines"]:
                    return "V2beta1ListPipelinesResponse", 200, api.list_pipelines(query)
        except Refused as error:
            return "GoogleRpcStatus", error.status, error.body
        missing = Refused(501, 12, f"{method} {path} is not in this server")
        return "GoogleRpcStatus", missing.status, missing.body

    def _file(self, body: bytes) -> bytes:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        for part in message_from_bytes(head + body).walk():
            if part.get_param("name", header="content-disposition") == "uploadfile":
                content = part.get_payload(decode=True)
                return content if isinstance(content, bytes) else b""
        return b""

    def _send(self, status: int, answer: Any, kind: str = "application/json") -> None:
        content = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Say nothing."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--swagger", type=Path, default=None)
    parser.add_argument("--multi-user", action="store_true")
    parser.add_argument("--cert", type=Path, default=None, help="PEM with key: serve TLS")
    parser.add_argument(
        "--execute", type=Path, default=None, help="run each run for real; folder of the project"
    )
    given = parser.parse_args()
    server = Server(given.port, given)
    scheme = "http"
    if given.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(given.cert)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    print(json.dumps({"url": f"{scheme}://127.0.0.1:{server.server_port}"}), flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        sys.stdin.read()  # until whoever started us goes
    if server.executor:
        server.executor.stop()


if __name__ == "__main__":
    main()
