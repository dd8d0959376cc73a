"""A Model as the API server has it: what is the user's, and what a person asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from noria.errors import InvalidInput, SpecError
from noria.loop.values import Verb
from noria.operator import rbac
from noria.operator.composition import server_addresses
from noria.operator.resource import COMMAND, COMMAND_ID, COMMAND_REASON, Resource
from noria.operator.settings import Settings

Make = Callable[..., Resource]
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def managed(time: str, manager: str = "kubectl-annotate") -> list[dict[str, Any]]:
    fields = {"f:metadata": {"f:annotations": {f"f:{COMMAND}": {}}}}
    return [
        {"manager": "other", "time": "2025-01-01T00:00:00Z", "fieldsV1": {"f:spec": {}}},
        {"manager": manager, "time": time, "fieldsV1": fields},
    ]


def test_status_and_metadata_of_kubernetes_are_not_the_users(resource: Make) -> None:
    made = resource(managedFields=[], annotations={"kubectl": "x"}).model()
    assert made.metadata.model_dump() == {
        "name": "flights",
        "namespace": "prod",
        "labels": {},
        "annotations": {},
    }


def test_a_name_too_long_for_its_service_is_refused(resource: Make) -> None:
    resource(name="n" * 49).model()
    with pytest.raises(SpecError, match=r"metadata\.name.*write at most 49"):
        resource(name="n" * 50).model()


def test_a_family_that_is_not_installed_here_is_refused_with_those_that_are(
    resource: Make,
) -> None:
    found = resource()
    spec = {**found.body["spec"], "task": {"family": "mood"}}
    with pytest.raises(SpecError, match=r"'mood' is not a task family that is installed.*tabular"):
        Resource({**found.body, "spec": spec}).model()


def test_a_command_is_the_same_until_it_is_set_again(resource: Make) -> None:
    asked = {COMMAND: "abort", COMMAND_REASON: "it is slow"}
    first = resource(annotations=asked, managedFields=managed("2026-01-01T00:00:00Z"))
    later = resource(
        annotations=asked, managedFields=managed("2026-01-01T00:00:00Z"), resourceVersion="99"
    )
    again = resource(annotations=asked, managedFields=managed("2026-01-01T00:00:05Z"))
    command = first.command(NOW)
    assert command is not None
    assert (command.verb, command.reason) == (Verb.ABORT, "it is slow")
    assert command.by == "annotation by kubectl-annotate"
    seen = [one.command(NOW) for one in (first, later, again)]
    ids = [one.id for one in seen if one is not None]
    assert ids[0] == ids[1] != ids[2]


def test_a_given_id_makes_commands_the_same(resource: Make) -> None:
    asked = {COMMAND: "train", COMMAND_ID: "ticket-7"}
    one = resource(annotations=asked, managedFields=managed("2026-01-01T00:00:00Z")).command(NOW)
    two = resource(annotations=asked, managedFields=managed("2026-01-01T09:00:00Z")).command(NOW)
    assert one is not None
    assert two is not None
    assert one.id == two.id


def test_no_annotation_is_no_command_and_a_wrong_verb_is_told(resource: Make) -> None:
    assert resource().command(NOW) is None
    assert resource().without_command() == []
    with pytest.raises(InvalidInput, match=r"'promte' is no command.*promote"):
        resource(annotations={COMMAND: "promte"}).command(NOW)


def test_only_the_command_that_was_read_is_taken_away(resource: Make) -> None:
    asked = resource(annotations={COMMAND: "pause", COMMAND_REASON: "r", "other": "kept"})
    assert asked.without_command() == [
        {"op": "test", "path": "/metadata/annotations/noria.dev~1command", "value": "pause"},
        {"op": "remove", "path": "/metadata/annotations/noria.dev~1command"},
        {"op": "test", "path": "/metadata/annotations/noria.dev~1command-reason", "value": "r"},
        {"op": "remove", "path": "/metadata/annotations/noria.dev~1command-reason"},
    ]


def test_the_role_has_no_wildcard_no_secret_and_a_reason_for_each_right() -> None:
    for permission in rbac.PERMISSIONS:
        assert "*" not in (permission.group, permission.resource, *permission.verbs)
        assert permission.resource not in ("secrets", "pods/exec", "roles", "nodes")
        assert permission.reason
    keys = [(p.group, p.resource, p.scope) for p in rbac.PERMISSIONS]
    assert len(keys) == len(set(keys))
    assert rbac.rules("operator") == [
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "verbs": ["get", "create", "update"],
        }
    ]


def test_the_documentation_lists_exactly_these_rights() -> None:
    page = (Path(__file__).parents[2] / "docs" / "kubernetes-operator.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    core = '""'
    wanted = [
        f"| `{p.group or core}` | `{p.resource}` | {', '.join(p.verbs)} | {p.reason} |"
        for p in rbac.PERMISSIONS
    ]
    start = rows.index(wanted[0])
    assert rows[start : start + len(wanted)] == wanted
    assert not any(row.count("|") == 5 for row in rows[start + len(wanted) :])


def test_the_documentation_lists_every_setting() -> None:
    page = (Path(__file__).parents[2] / "docs" / "kubernetes-operator.md").read_text()
    names = {f"NORIA_{field.name.upper()}" for field in fields(Settings)}
    assert names == set(re.findall(r"NORIA_[A-Z_]+", page))


def pod(address: str, *, ready: bool = True, **metadata: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {"metadata": metadata, "status": {"podIP": address, "conditions": conditions}}


def test_servers_are_the_pods_that_are_ready_and_stay() -> None:
    found = server_addresses(
        [
            pod("10.0.0.1"),
            pod("10.0.0.2", ready=False),
            pod("10.0.0.3", deletionTimestamp="2026-01-01T00:00:00Z"),
            pod("fd00::4"),
            {"metadata": {}, "status": {"phase": "Pending"}},
            {"metadata": {}},
        ],
        8080,
    )
    assert found == ("http://10.0.0.1:8080", "http://[fd00::4]:8080")
