"""The operations of v2beta1 that clients of ours use, as Kubeflow Pipelines 2.17 answers them."""

from __future__ import annotations

import base64
import json
import os
import time
import uuid
from typing import Any

import state as states
import workflow
from google.protobuf import json_format

# Without it KFP brings the whole Kubernetes client with it, which takes seconds.
os.environ["_KFP_RUNTIME"] = "true"
from kfp.pipeline_spec import pipeline_spec_pb2

del os.environ["_KFP_RUNTIME"]

MOST_PER_PAGE = 200
MOST_PER_TEMPLATE = 128 << 10
TEMPLATE_BYTES = 8_000
_FIELDS = ("display_name", "state", "run_id", "storage_state", "experiment_id", "namespace")


class Refused(Exception):
    """An answer that is an error: HTTP status, gRPC code, message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "message": message, "details": []}


class LogRefused(Exception):
    """How the server that streams logs says no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error_message": message, "error_details": message}


def bad(message: str) -> Refused:
    return Refused(400, 3, f"Invalid input error: {message}")


def missing(message: str) -> Refused:
    return Refused(404, 5, f"ResourceNotFoundError: {message}")


class Api:
    """Answers requests from the state."""

    def __init__(self, state: states.State, *, multi_user: bool) -> None:
        self._state = state
        self._multi_user = multi_user

    def healthz(self) -> dict[str, Any]:
        return {"multi_user": self._multi_user, "pipeline_store": "database"}

    def list_experiments(self, query: dict[str, str]) -> dict[str, Any]:
        namespace = self._namespace(query.get("namespace", ""))
        items = [e for e in self._state.all["experiments"] if e.get("namespace", "") == namespace]
        return self._page("experiments", items, query)

    def create_experiment(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body.get("display_name", "")
        if not name:
            raise bad("Experiment has an empty name")
        namespace = self._namespace(body.get("namespace", ""))
        with self._state.lock:
            for item in self._state.all["experiments"]:
                if (item["display_name"], item.get("namespace", "")) == (name, namespace):
                    raise Refused(409, 6, f"Already exist error: Failed to create: {name}")
            made = {
                "experiment_id": str(uuid.uuid4()),
                "display_name": name,
                "created_at": states.moment(),
                "storage_state": "AVAILABLE",
            }
            if namespace:
                made["namespace"] = namespace
            if body.get("description"):
                made["description"] = body["description"]
            return self._state.add("experiments", made)

    def get_experiment(self, experiment_id: str) -> dict[str, Any]:
        for item in self._state.all["experiments"]:
            if item["experiment_id"] == experiment_id:
                return item
        raise missing(f"Experiment {experiment_id} not found")

    def list_runs(self, query: dict[str, str]) -> dict[str, Any]:
        self._state.settle()
        experiment = query.get("experiment_id", "")
        if experiment:
            self.get_experiment(experiment)
        elif self._multi_user:
            self._namespace(query.get("namespace", ""))
        items = [
            run
            for run in self._state.all["runs"]
            if not experiment or run["experiment_id"] == experiment
        ]
        return self._page("runs", items, query)

    def create_run(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body.get("display_name", "")
        if not name:
            raise bad("The run name is empty. Please specify a valid name")
        experiment = body.get("experiment_id", "")
        if not experiment:
            raise bad("this server has no default experiment; give experiment_id")
        self.get_experiment(experiment)
        self._compiles(body)
        made = {
            "experiment_id": experiment,
            "run_id": str(uuid.uuid4()),
            "display_name": name,
            "storage_state": "AVAILABLE",
            "pipeline_spec": body["pipeline_spec"],
            "runtime_config": body.get("runtime_config", {}),
            "service_account": body.get("service_account") or "pipeline-runner",
            "created_at": states.moment(),
            "scheduled_at": states.moment(),
            "state": "PENDING",
            "state_history": [{"update_time": states.moment(), "state": "PENDING"}],
        }
        workflow.begin(made, states.moment())
        self._state.add("runs", made)
        if _template_bytes(made["runtime_config"].get("parameters", {})) > MOST_PER_TEMPLATE:
            refused = (
                "configmaps is forbidden: User system:serviceaccount:kubeflow:argo cannot create "
                "resource configmaps in API group in the namespace kubeflow"
            )
            workflow.driver(made, "ingest", "Error", refused, states.moment())
            self._state.move(made, "FAILED")
        return states.public(made)

    def workflow(self, run_id: str) -> dict[str, Any]:
        """v1beta1's detail of a run."""
        run = self._run(run_id)
        manifest = workflow.manifest(run)
        runtime = {} if manifest is None else {"workflow_manifest": manifest}
        return {"run": {"id": run_id, "name": run["display_name"]}, "pipeline_runtime": runtime}

    def log(self, run_id: str, pod: str) -> str:
        """v1alpha1's log of a pod; what fails there is a 500 with a message of its own kind."""
        run = self._run(run_id)
        if pod not in run["_logs"]:
            said = f"Failed to read logs for run {run_id}: pods {pod!r} not found"
            raise LogRefused(500, said)
        return str(run["_logs"][pod])

    def get_run(self, run_id: str) -> dict[str, Any]:
        return states.public(self._run(run_id))

    def _run(self, run_id: str) -> dict[str, Any]:
        run = self._state.run(run_id)
        if run is None:
            raise missing(f"Run {run_id} not found")
        return run

    def terminate(self, run_id: str) -> dict[str, Any]:
        self.get_run(run_id)
        run = self._state.run(run_id)
        if run is None or run["state"] not in ("PENDING", "RUNNING", "PAUSED"):
            raise bad(f"Failed to terminate a run {run_id}. Row not found")
        run["_canceling"] = time.time() + states.TERMINATION_SECONDS
        run["_workflow"]["stopped"] = True
        # It gets into the history only if the agent reports between this and the end.
        self._state.move(run, "CANCELING", noted=not run.get("_forgetful"))
        return {}

    def store(self, run_id: str, storage: str) -> dict[str, Any]:
        self.get_run(run_id)
        run = self._state.run(run_id)
        if run is not None:
            run["storage_state"] = storage
            self._state.save()
        return {}

    def upload(self, query: dict[str, str], package: bytes) -> dict[str, Any]:
        name = query.get("name", "")
        if not name or not package:
            raise bad("a pipeline needs a name and a package")
        made = {
            "pipeline_id": str(uuid.uuid4()),
            "name": name,
            "display_name": query.get("display_name") or name,
            "created_at": states.moment(),
            "_package": base64.b64encode(package).decode(),
        }
        return states.public(self._state.add("pipelines", made))

    def list_pipelines(self, query: dict[str, str]) -> dict[str, Any]:
        return self._page("pipelines", list(self._state.all["pipelines"]), query)

    def _namespace(self, asked: str) -> str:
        if not self._multi_user:
            return ""
        if asked in ("", "-"):
            raise bad("An experiment cannot have an empty namespace in multi-user mode")
        return asked

    def _compiles(self, body: dict[str, Any]) -> None:
        """Read the pipeline and its parameters as the server does before it makes a workflow."""
        given = body.get("pipeline_spec")
        if not given:
            raise bad("Pipeline spec is empty")
        spec, platform = given.get("pipeline_spec", given), given.get("platform_spec", {})
        try:
            json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
            json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
        except json_format.ParseError as error:
            raise bad(f"Failed to parse the pipeline spec: {error}") from None
        known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        for name, value in body.get("runtime_config", {}).get("parameters", {}).items():
            if name not in known:
                raise bad(f"parameter {name} is not in the pipeline's inputs")
            if known[name]["parameterType"] == "STRING" and not isinstance(value, str):
                raise bad(f"input parameter {name} requires type string")

    def _page(
        self, kind: str, items: list[dict[str, Any]], query: dict[str, str]
    ) -> dict[str, Any]:
        items = [item for item in items if _matches(item, query.get("filter", ""))]
        field, _, direction = (query.get("sort_by") or "created_at").partition(" ")
        key = {"runs": "run_id", "experiments": "experiment_id"}.get(kind, "pipeline_id")
        items.sort(key=lambda item: (item.get(field, ""), item[key]), reverse=direction == "desc")
        size = min(int(query.get("page_size") or 20), MOST_PER_PAGE) or 20
        start = int(query.get("page_token") or 0)
        answer: dict[str, Any] = {"total_size": len(items)}
        page = [states.public(item) for item in items[start : start + size]]
        if page:  # the gateway leaves out what is empty
            answer[kind] = page
        if start + size < len(items):
            answer["next_page_token"] = str(start + size)
        return answer


def _template_bytes(parameters: dict[str, str]) -> int:
    """Return the size of ARGO_TEMPLATE: arguments in JSON, in JSON, in JSON, and the rest of it."""
    size = TEMPLATE_BYTES
    for value in parameters.values():
        for _ in range(3):
            value = json.dumps(value, ensure_ascii=False)[1:-1]
        size += len(value.encode())
    return size


def _matches(item: dict[str, Any], text: str) -> bool:
    if not text:
        return True
    try:
        predicates = json.loads(text).get("predicates", [])
    except ValueError:
        raise bad(f"filter {text!r} is not JSON") from None
    for predicate in predicates:
        operation = predicate.get("operation")
        key = predicate.get("key")
        if key not in _FIELDS:
            raise bad(f"cannot filter by {key}")
        value = predicate.get("stringValue", predicate.get("string_value"))
        if value is None:
            raise bad("a predicate needs a value")
        if operation in ("EQUALS", 1) and item.get(key) != value:
            return False
        if operation in ("IS_SUBSTRING", 9) and value not in item.get(key, ""):
            return False
        if operation not in ("EQUALS", 1, "IS_SUBSTRING", 9):
            raise bad(f"filter operation {operation} is not known here")
    return True
