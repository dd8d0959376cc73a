"""What each answer of an API server becomes, and what is asked again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from noria.errors import (
    ClusterError,
    Conflict,
    Denied,
    InvalidInput,
    NoriaError,
    Unavailable,
)
from noria.kube import KubeClient
from noria.kube.kinds import CONFIG_MAP, NODE

BODY: dict[str, Any] = {"metadata": {"name": "a"}, "data": {}}


@pytest.mark.parametrize(
    ("status", "error", "fix"),
    [
        (400, InvalidInput, ""),
        (401, Denied, "check the token"),
        (403, Denied, "let this identity 'create' 'configmaps' by a Role"),
        (404, ClusterError, "check that its namespace exists"),
        (405, ClusterError, ""),
        (409, Conflict, "decide again"),
        (413, InvalidInput, "make it smaller"),
        (422, InvalidInput, ""),
        (429, Unavailable, "later"),
        (500, Unavailable, "later"),
        (503, Unavailable, "later"),
        (504, Unavailable, "later"),
    ],
)
def test_a_refused_write_names_the_call_and_keeps_the_servers_words(
    server: Any, client: KubeClient, failed: Any, status: int, error: type[NoriaError], fix: str
) -> None:
    server.say(failed(status, "the server's own words"))
    with pytest.raises(NoriaError) as raised:
        client.create(CONFIG_MAP, BODY, "prod")
    assert type(raised.value) is error
    said = f"create configmaps prod/a: the server's own words (HTTP {status})"
    assert raised.value.message == said
    assert fix in raised.value.fix
    assert server.asked == [
        ("POST", "/api/v1/namespaces/prod/configmaps?fieldValidation=Strict")
    ], "a write is never sent twice"


def test_causes_that_the_message_lacks_are_added(
    server: Any, client: KubeClient, failed: Any
) -> None:
    causes = [{"message": "spec.a: required"}, {"message": "too long"}]
    server.say(failed(422, "spec.a: required", causes=causes))
    with pytest.raises(InvalidInput, match=r"spec\.a: required: too long \(HTTP 422\)"):
        client.create(CONFIG_MAP, BODY, "prod")


def test_a_read_is_tried_again_until_it_is_answered(
    server: Any, client: KubeClient, failed: Any, said: Any
) -> None:
    server.say(failed(503, "starting"), failed(429, "slow down"), said(200, BODY))
    assert client.get(CONFIG_MAP, "a", "prod") == BODY
    assert len(server.asked) == 3


def test_a_read_is_given_up_in_the_end(server: Any, client: KubeClient, failed: Any) -> None:
    server.say(failed(503, "starting"))
    with pytest.raises(Unavailable, match="get configmaps prod/a: starting"):
        client.get(CONFIG_MAP, "a", "prod")
    assert len(server.asked) == 3


def test_a_hurried_client_tries_once(server: Any, client: KubeClient, failed: Any) -> None:
    server.say(failed(503, "starting"))
    with pytest.raises(Unavailable):
        client.within(1.0).get(CONFIG_MAP, "a", "prod")
    assert len(server.asked) == 1


def test_a_refused_read_is_not_tried_again(server: Any, client: KubeClient, failed: Any) -> None:
    server.say(failed(403, "no"))
    with pytest.raises(Denied):
        client.list(CONFIG_MAP, "prod")
    assert len(server.asked) == 1


def test_a_silent_server_is_waited_for_no_longer_than_said(
    server: Any, client: KubeClient, said: Any
) -> None:
    answer = threading.Event()
    server.say(said(200, BODY, answer))
    try:
        with pytest.raises(Unavailable, match=r"update configmaps prod/a: .*timed out") as raised:
            client.within(0.2).replace(CONFIG_MAP, BODY, "prod")
    finally:
        answer.set()
    assert raised.value.__cause__ is not None
    assert raised.value.__cause__.__cause__ is not None, "the library's error is the cause"
    assert len(server.asked) == 1


def test_nobody_there_is_unavailable(server: Any, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        client = KubeClient.connect(server.kubeconfig(tmp_path / "none"))
        with pytest.raises(Unavailable, match=r"get nodes one: http://127.0.0.1:\d+ does not"):
            client.get(NODE, "one", None)


def test_an_answer_of_something_else_is_no_object(
    server: Any, client: KubeClient, said: Any
) -> None:
    server.say(said(200, b"<html>a proxy's page"))
    with pytest.raises(ClusterError, match=r"not JSON: <html>.*check that the address"):
        client.get(CONFIG_MAP, "a", "prod")
    server.say(said(200, []))
    with pytest.raises(ClusterError, match="no object"):
        client.get(CONFIG_MAP, "a", "prod")


def test_a_long_message_is_cut(server: Any, client: KubeClient, said: Any) -> None:
    server.say(said(418, b"x" * 100_000))
    with pytest.raises(ClusterError) as raised:
        client.create(CONFIG_MAP, BODY, "prod")
    assert len(str(raised.value)) < 2500


def test_an_expired_list_begins_again(
    server: Any, client: KubeClient, failed: Any, said: Any
) -> None:
    first = said(200, {"metadata": {"continue": "more"}, "items": [{"metadata": {"name": "a"}}]})
    last = said(200, {"metadata": {}, "items": [{"metadata": {"name": "b"}}]})
    server.say(first, failed(410, "too old"), first, last)
    names = [item["metadata"]["name"] for item in client.list(CONFIG_MAP, "prod")]
    assert names == ["a", "b"]


@pytest.mark.parametrize("value", [float("nan"), {1, 2}])
def test_what_is_no_json_is_not_sent(server: Any, client: KubeClient, value: Any) -> None:
    with pytest.raises(InvalidInput, match="can't be sent as JSON"):
        client.create(CONFIG_MAP, {**BODY, "data": value}, "prod")
    assert server.asked == []


def test_an_empty_name_or_namespace_never_means_all(server: Any, client: KubeClient) -> None:
    with pytest.raises(InvalidInput, match="the name of a ConfigMap is ''"):
        client.delete(CONFIG_MAP, "", "prod")
    for nowhere in (None, ""):
        with pytest.raises(InvalidInput, match="ConfigMap 'a' needs a namespace"):
            client.delete(CONFIG_MAP, "a", nowhere)
        with pytest.raises(InvalidInput, match="needs a namespace"):
            client.create(CONFIG_MAP, BODY, nowhere)
    assert server.asked == []


def test_a_name_can_not_leave_its_path(server: Any, client: KubeClient, said: Any) -> None:
    server.say(said(404, {}))
    client.get(CONFIG_MAP, "../secrets/x?y", "prod")
    assert server.asked == [("GET", "/api/v1/namespaces/prod/configmaps/..%2Fsecrets%2Fx%3Fy")]


def test_the_token_goes_with_every_request_and_into_no_message(
    server: Any, connect: Callable[..., KubeClient], failed: Any
) -> None:
    server.say(failed(401, "Unauthorized"))
    client = connect(token="very-secret")  # noqa: S106 - it is none
    with pytest.raises(Denied) as raised:
        client.get(CONFIG_MAP, "a", "prod")
    assert server.headers[0]["Authorization"] == "Bearer very-secret"
    assert "very-secret" not in str(raised.value)
