"""The client against a real API server: what it returns, and what its errors say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from noria.errors import ClusterError, Conflict, Denied, InvalidInput
from noria.kube import Kind, KubeClient
from noria.kube.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    INGRESS,
    NAMESPACE,
    NODE,
    SERVICE,
    STORAGE_CLASS,
)

pytestmark = pytest.mark.cluster

NO_SUCH_KIND = Kind("nothing.example.com", "v1", "nothings", "Nothing")


@pytest.fixture
def client(cluster: Any) -> Iterator[KubeClient]:
    with closing(KubeClient.connect(cluster.kubeconfig)) as made:
        yield made


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": data}


def test_an_object_is_created_read_replaced_and_deleted(client: KubeClient, namespace: str) -> None:
    made = client.create(CONFIG_MAP, config_map("a", key="1"), namespace)
    assert client.get(CONFIG_MAP, "a", namespace) == made

    made["data"]["key"] = "2"
    replaced = client.replace(CONFIG_MAP, made, namespace)
    assert replaced["data"] == {"key": "2"}

    with pytest.raises(Conflict, match=rf"update configmaps {namespace}/a: .*modified"):
        client.replace(CONFIG_MAP, made, namespace)
    version = made["metadata"]["resourceVersion"]
    with pytest.raises(Conflict):
        client.delete(CONFIG_MAP, "a", namespace, resource_version=version)
    assert client.delete(CONFIG_MAP, "a", namespace)
    assert not client.delete(CONFIG_MAP, "a", namespace)
    assert client.get(CONFIG_MAP, "a", namespace) is None


def test_what_exists_is_not_created_twice(client: KubeClient, namespace: str) -> None:
    client.create(CONFIG_MAP, config_map("a"), namespace)
    with pytest.raises(Conflict, match=rf'create configmaps {namespace}/a: .*"a" already exists'):
        client.create(CONFIG_MAP, config_map("a"), namespace)


def test_what_is_gone_can_not_be_changed(client: KubeClient, namespace: str) -> None:
    made = client.create(CONFIG_MAP, config_map("a"), namespace)
    client.delete(CONFIG_MAP, "a", namespace)
    for change in (
        lambda: client.replace(CONFIG_MAP, made, namespace),
        lambda: client.patch_merge(CONFIG_MAP, "a", namespace, {"data": {"b": "1"}}),
        lambda: client.patch_json(CONFIG_MAP, "a", namespace, []),
    ):
        with pytest.raises(Conflict):
            change()


def test_a_list_is_whole_and_says_kinds_and_selects_by_labels(
    client: KubeClient, namespace: str
) -> None:
    def make(first: int) -> None:
        for number in range(first, 520, 4):
            body = config_map(f"a-{number:03d}")
            body["metadata"]["labels"] = {"third": str(number % 3), "odd": str(number % 2)}
            client.create(CONFIG_MAP, body, namespace)

    threads = [threading.Thread(target=make, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    names = [item["metadata"]["name"] for item in client.list(CONFIG_MAP, namespace)]
    assert [name for name in names if name.startswith("a-")] == [f"a-{n:03d}" for n in range(520)]
    some = client.list(CONFIG_MAP, namespace, labels={"third": "1", "odd": "1"})
    assert len(some) == len([n for n in range(520) if n % 3 == 1 and n % 2 == 1])
    assert {(item["apiVersion"], item["kind"]) for item in some} == {("v1", "ConfigMap")}


def test_lists_of_all_namespaces_and_of_kinds_without_one(
    client: KubeClient, namespace: str
) -> None:
    client.create(CONFIG_MAP, config_map("only-here"), namespace)
    everywhere = client.list(CONFIG_MAP, None)
    assert (namespace, "only-here") in {
        (item["metadata"]["namespace"], item["metadata"]["name"]) for item in everywhere
    }
    assert namespace in {item["metadata"]["name"] for item in client.list(NAMESPACE, None)}


def test_apply_makes_changes_and_removes_what_it_no_longer_says(
    client: KubeClient, namespace: str
) -> None:
    client.apply(CONFIG_MAP, config_map("a", one="1", two="2"), namespace)
    client.patch_merge(CONFIG_MAP, "a", namespace, {"data": {"theirs": "3"}})
    applied = client.apply(CONFIG_MAP, config_map("a", one="1"), namespace)
    assert applied["data"] == {"one": "1", "theirs": "3"}


def test_apply_without_force_leaves_fields_of_others(client: KubeClient, namespace: str) -> None:
    client.apply(CONFIG_MAP, config_map("a", key="theirs"), namespace, manager="them")
    with pytest.raises(Conflict, match=r'conflict with "them".*data\.key'):
        client.apply(CONFIG_MAP, config_map("a", key="ours"), namespace, force=False)
    client.apply(CONFIG_MAP, config_map("a", key="ours"), namespace)
    found = client.get(CONFIG_MAP, "a", namespace)
    assert found is not None
    assert found["data"] == {"key": "ours"}


def test_a_json_patch_is_a_compare_and_swap_by_its_tests(
    client: KubeClient, namespace: str
) -> None:
    client.create(CONFIG_MAP, config_map("a", key="1"), namespace)
    replace = {"op": "replace", "path": "/data/key", "value": "2"}
    test = {"op": "test", "path": "/data/key", "value": "1"}
    assert client.patch_json(CONFIG_MAP, "a", namespace, [test, replace])["data"] == {"key": "2"}
    with pytest.raises(Conflict, match=rf"patch configmaps {namespace}/a: a test"):
        client.patch_json(CONFIG_MAP, "a", namespace, [test, replace])
    with pytest.raises(InvalidInput):
        client.patch_json(CONFIG_MAP, "a", namespace, [{"op": "remove", "path": "/data/none"}])


def test_a_merge_patch_is_a_compare_and_swap_by_its_version(
    client: KubeClient, namespace: str
) -> None:
    made = client.create(CONFIG_MAP, config_map("a"), namespace)
    version = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}
    client.patch_merge(CONFIG_MAP, "a", namespace, {**version, "data": {"b": "1"}})
    with pytest.raises(Conflict):
        client.patch_merge(CONFIG_MAP, "a", namespace, {**version, "data": {"b": "2"}})


def test_a_refusal_has_the_servers_words(client: KubeClient, namespace: str) -> None:
    with pytest.raises(InvalidInput, match=r"create configmaps .*Invalid value: \"no_name\""):
        client.create(CONFIG_MAP, config_map("no_name"), namespace)
    unknown = {**config_map("a"), "dota": {"a": "1"}}
    with pytest.raises(InvalidInput, match='unknown field "dota"'):
        client.create(CONFIG_MAP, unknown, namespace)
    with pytest.raises(InvalidInput, match="dota"):
        client.apply(CONFIG_MAP, unknown, namespace)
    assert client.get(CONFIG_MAP, "a", namespace) is None


def test_a_kind_or_a_namespace_that_is_not_there(client: KubeClient, namespace: str) -> None:
    assert client.get(NO_SUCH_KIND, "a", namespace) is None
    assert client.get(CONFIG_MAP, "a", "no-such-namespace") is None
    assert not client.delete(NO_SUCH_KIND, "a", namespace)
    with pytest.raises(ClusterError, match=r"list nothings\.nothing\.example\.com"):
        client.list(NO_SUCH_KIND, namespace)
    with pytest.raises(ClusterError, match='namespaces "no-such-namespace" not found'):
        client.create(CONFIG_MAP, config_map("a"), "no-such-namespace")
    with pytest.raises(ClusterError, match="patch nothings"):
        client.patch_json(NO_SUCH_KIND, "a", namespace, [])


def test_what_the_cluster_serves(client: KubeClient) -> None:
    for kind in (CONFIG_MAP, DEPLOYMENT, INGRESS, NODE, SERVICE, STORAGE_CLASS):
        assert client.has_kind(kind)
        assert kind in client.api_resources(kind.group, kind.version)
    assert not client.has_kind(NO_SUCH_KIND)
    assert not client.has_kind(CONFIG_MAP._replace(version="v9"))
    assert client.versions("apps") == ("v1",)
    assert client.versions("") == ("v1",)
    assert client.versions("nothing.example.com") == ()
    assert client.server_version().startswith("v1.")


def test_a_status_is_merged_into_and_the_spec_stays(client: KubeClient, namespace: str) -> None:
    rule = {"host": "a.example.com"}
    backend = {"service": {"name": "a", "port": {"number": 80}}}
    body = {"metadata": {"name": "a"}, "spec": {"rules": [rule], "defaultBackend": backend}}
    made = client.create(INGRESS, body, namespace)
    status = {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}
    changed = client.patch_status(INGRESS, "a", namespace, status)
    assert changed["status"] == status
    assert changed["spec"] == made["spec"]
    client.patch_status(INGRESS, "a", namespace, {"loadBalancer": {}})
    found = client.get(INGRESS, "a", namespace)
    assert found is not None
    assert found["status"] == {"loadBalancer": {"ingress": status["loadBalancer"]["ingress"]}}


def test_who_is_forbidden_is_told_what_was_asked(
    client: KubeClient, cluster: Any, namespace: str
) -> None:
    reader = KubeClient.connect(cluster.kubeconfig_for("default", namespace))
    with pytest.raises(
        Denied,
        match=rf"create configmaps {namespace}/a: .*cannot create resource .*'create' 'configmaps'",
    ):
        reader.create(CONFIG_MAP, config_map("a"), namespace)
    with pytest.raises(Denied):
        reader.get(CONFIG_MAP, "a", namespace)
    assert not reader.allowed("create", CONFIG_MAP, namespace)
    assert client.allowed("create", CONFIG_MAP, namespace)


def test_an_unknown_token_is_denied(cluster: Any, namespace: str, tmp_path: Path) -> None:
    stranger = tmp_path / "kubeconfig"
    lines = cluster.kubeconfig.read_text().splitlines()
    stranger.write_text(
        "\n".join(
            line.split("token:")[0] + "token: nobody" if "token:" in line else line
            for line in lines
        )
    )
    with pytest.raises(Denied, match=r"HTTP 401.*check the token"):
        KubeClient.connect(stranger).get(CONFIG_MAP, "a", namespace)
