"""Which way traffic is split follows from what the cluster has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from noria.errors import InvalidInput, TrafficError
from noria.kube.kserve import KServe, choose

OLD = KServe(
    installed=True,
    canary_field=True,
    version="0.20.0",
    mode="Standard",
    gateway_api=True,
    gateway="kserve/gate",
    domain="example.test",
    routes_served=True,
    gateways=("kserve/gate", "other/gate"),
)


@pytest.mark.parametrize(
    ("seen", "way"),
    [
        (OLD, "routes"),
        (replace(OLD, version="0.21.0"), "standard"),
        (replace(OLD, version="v0.21.0-rc1"), "standard"),
        (replace(OLD, version="1.0.0"), "standard"),
        (replace(OLD, version=""), "routes"),
        (replace(OLD, version="latest"), "routes"),
        (replace(OLD, version="0.21.0", gateway_api=False), "routes"),
        (replace(OLD, version="0.21.0", gateway_api=None), "routes"),
        (replace(OLD, version="0.21.0", canary_field=False), "routes"),
        (replace(OLD, version="0.21.0", domain="svc.cluster.local"), "routes"),
        (replace(OLD, mode="Serverless", knative=True), "knative"),
        (replace(OLD, mode="Knative", knative=True), "knative"),
        (replace(OLD, mode="Serverless"), "routes"),
        (replace(OLD, mode="", routes_served=False, knative=True), "knative"),
        (replace(OLD, knative=True), "routes"),
    ],
)
def test_the_way_follows_from_the_cluster(seen: KServe, way: str) -> None:
    assert choose(seen).way == way


def test_a_setting_overrides_it() -> None:
    assert choose(OLD, "standard").way == "standard"
    assert choose(replace(OLD, version="0.21.0"), "routes").way == "routes"
    assert choose(replace(OLD, knative=True), "knative").why == "NORIA_TRAFFIC=knative asks for it"


@pytest.mark.parametrize(
    ("seen", "wanted", "said"),
    [
        (KServe(installed=False), "auto", "KServe is not installed"),
        (replace(OLD, routes_served=False), "auto", "Gateway API is not installed"),
        (replace(OLD, canary_field=False), "standard", "has no spec.canary"),
        (OLD, "knative", "no Knative Services"),
        (replace(OLD, gateway=""), "auto", "has: kserve/gate, other/gate"),
        (replace(OLD, gateways=()), "auto", "has: none"),
    ],
)
def test_what_is_missing_is_named(seen: KServe, wanted: str, said: str) -> None:
    with pytest.raises(TrafficError, match=said) as raised:
        choose(seen, wanted)
    assert raised.value.fix


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(InvalidInput, match="NORIA_TRAFFIC: 'istio'"):
        choose(OLD, "istio")


def test_the_gateway_is_ours_then_kserves_then_the_only_one() -> None:
    assert choose(OLD, gateway="mine/gate").gateway == "mine/gate"
    assert choose(OLD).gateway == "kserve/gate"
    assert choose(replace(OLD, gateway="", gateways=("a/b",))).gateway == "a/b"


def test_the_host_name_is_kserves() -> None:
    assert OLD.hostname("flights", "prod") == "flights-prod.example.test"
    made = replace(OLD, template="{{.Name}}.{{ .Namespace }}.{{ .IngressDomain }}")
    assert made.hostname("flights", "prod") == "flights.prod.example.test"
    assert replace(OLD, template="{{ .Labels.x }}.com").hostname("flights", "prod") == ""
    assert replace(OLD, domain="").hostname("flights", "prod") == ""
