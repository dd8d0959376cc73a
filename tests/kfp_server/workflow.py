"""Argo's Workflow of a run, as Kubeflow Pipelines 2.17 keeps it, and the logs of its pods.

Every task has a driver, a DAG of its own name and in it an executor; with the default retries
of Pipelines' Argo each of the pods is the try of a Retry node. The task details that v2beta1
answers are made of these nodes and have states and pods, never an error.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from typing import Any

PHASES = {
    "PENDING": "Pending",
    "RUNNING": "Running",
    "SUCCEEDED": "Succeeded",
    "FAILED": "Failed",
    "CANCELED": "Failed",
}
STATES = {"Pending": "PENDING", "Running": "RUNNING", "Succeeded": "SUCCEEDED"}


def begin(run: dict[str, Any], now: str) -> None:
    """Give a new run its workflow; ``hidden``: "", "absent", "compressed" or "offloaded"."""
    name = f"noria-training-{run['run_id'][:5]}"
    run["_workflow"] = {"name": name, "stopped": False, "message": "", "hidden": "", "nodes": {}}
    run["_logs"] = {}
    _pod(run, "root-driver", "root-driver", "system-dag-driver", "Succeeded", now)
    _node(run, "root", "root", "DAG", "root", "Running", now)


def task(run: dict[str, Any], name: str, state: str, now: str, message: str = "") -> str:
    """Say where a task is; return its executor's pod. ``message`` is the pod's."""
    phase = PHASES[state]
    _pod(run, f"root.{name}-driver", f"{name}-driver", "system-container-driver", "Succeeded", now)
    inside = _pod(run, f"root.{name}.executor", "executor", "system-container-impl", phase, now)
    dag = _node(run, f"root.{name}", name, "DAG", "system-container-executor", phase, now)
    retry, pod = inside
    dag["children"] = [retry["id"]]
    retry["phase"] = "Running" if phase == "Pending" else phase
    pod["message"] = message
    if phase == "Failed" and not message:
        pod["message"] = "main: Error (exit code 1)"
    return _pod_name(run, pod)


def driver(run: dict[str, Any], name: str, phase: str, message: str, now: str) -> str:
    """Say how a task's driver, or the run's (``root``), is; return its pod."""
    path = "root-driver" if name == "root" else f"root.{name}-driver"
    template = "system-dag-driver" if name == "root" else "system-container-driver"
    retry, pod = _pod(run, path, f"{name}-driver", template, phase, now)
    pod["message"] = message
    if phase == "Failed" and not message:
        pod["message"] = "main: Error (exit code 1)"
    retry["phase"] = "Running" if phase == "Pending" else phase
    return _pod_name(run, pod)


def manifest(run: dict[str, Any]) -> str | None:
    """Return the workflow as JSON, or None before the server was told of it."""
    flow = run["_workflow"]
    if flow["hidden"] == "absent":
        return None
    status: dict[str, Any] = {"phase": "Running"}
    if flow["message"]:
        status["message"] = flow["message"]
    if flow["hidden"] == "compressed":
        content = gzip.compress(json.dumps(flow["nodes"]).encode())
        status["compressedNodes"] = base64.b64encode(content).decode()
    elif flow["hidden"] == "offloaded":
        status["offloadNodeStatusVersion"] = "fnv:1234567"
    else:
        status["nodes"] = flow["nodes"]
    spec: dict[str, Any] = {"entrypoint": "entrypoint"}
    if flow["stopped"]:
        spec["activeDeadlineSeconds"] = 0
    return json.dumps({"metadata": {"name": flow["name"]}, "spec": spec, "status": status})


def details(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the task details of v2beta1; none for nodes that Argo hides."""
    flow = run["_workflow"]
    if flow["hidden"]:
        return []
    made = []
    for node in flow["nodes"].values():
        state = STATES.get(node["phase"], "FAILED")
        children = [flow["nodes"][child] for child in node.get("children", ())]
        made.append(
            {
                "run_id": run["run_id"],
                "task_id": node["id"],
                "display_name": node["displayName"],
                "create_time": node["startedAt"],
                "start_time": node["startedAt"],
                "state": state,
                "state_history": [{"update_time": node["startedAt"], "state": state}],
                "child_tasks": [{"pod_name": _pod_name(run, child)} for child in children],
            }
        )
    return made


def failure_log(message: str, *, marked: bool = True) -> str:
    """Return what the log of a failed step looks like, with the lines around Python's."""
    mark = [f"noria: the step failed: {json.dumps(message)}"] if marked else []
    lines = [
        "I1128 20:00:00.000000      12 launcher_v2.go:187] publish success.",
        "[KFP Executor 2026-11-28 20:00:01,000 INFO]: Looking for component `validate`",
        *mark,
        "Traceback (most recent call last):",
        '  File "/usr/lib/python3.11/runpy.py", line 196, in _run_module_as_main',
        "    return _run_code(code, main_globals, None,",
        f"noria.errors.DataError: {message}",
        "F1128 20:00:02.000000      12 main.go:57] failed to execute component: exit status 1",
        'time="2026-11-28T20:00:02.000Z" level=info msg="sub-process exited" error="exit status 1"',
        "Error: exit status 1",
    ]
    return "\n".join(lines) + "\n"


def _pod(
    run: dict[str, Any], path: str, display: str, template: str, phase: str, now: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    retry = _node(run, path, display, "Retry", template, phase, now)
    pod = _node(run, f"{path}(0)", f"{display}(0)", "Pod", template, phase, now)
    retry["children"] = [pod["id"]]
    return retry, pod


def _node(
    run: dict[str, Any], path: str, display: str, kind: str, template: str, phase: str, now: str
) -> dict[str, Any]:
    flow = run["_workflow"]
    name = f"{flow['name']}.{path}"
    identity = f"{flow['name']}-{_fnv(name)}"
    node = flow["nodes"].setdefault(
        identity,
        {
            "id": identity,
            "name": name,
            "displayName": display,
            "type": kind,
            "templateName": template,
            "startedAt": now,
        },
    )
    node["phase"] = phase
    found: dict[str, Any] = node
    return found


def _pod_name(run: dict[str, Any], node: dict[str, Any]) -> str:
    flow = run["_workflow"]
    if node["type"] != "Pod":
        return str(node["id"])
    return f"{flow['name']}-{node['templateName']}-{node['id'].rpartition('-')[2]}"


def pods(run: dict[str, Any]) -> Iterator[str]:
    """Return the names of the run's pods."""
    for node in run["_workflow"]["nodes"].values():
        if node["type"] == "Pod":
            yield _pod_name(run, node)


def _fnv(text: str) -> int:
    digest = 2166136261
    for byte in text.encode():
        digest = (digest ^ byte) * 16777619 % 2**32
    return digest
