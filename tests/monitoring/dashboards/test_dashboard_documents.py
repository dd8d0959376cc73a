"""What dashboards and provisioning files hold: freshness, words for people, no secrets."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from monitoring.dashboards import fleet_dashboard, grafana_files, model_dashboard
from monitoring.dashboards.__main__ import GENERATOR
from monitoring.generated import main
from monitoring.rules import rules_of
from noria.spec import MetricNames, Model, Runtime, load_model

ROOT: Final = Path(__file__).parents[3]
FLIGHTS: Final = ROOT / "examples/flights/model.yaml"


@pytest.fixture(scope="module")
def flights() -> Model:
    return load_model(FLIGHTS)


@pytest.fixture(scope="module")
def pages(flights: Model) -> list[dict[str, Any]]:
    return [fleet_dashboard(), model_dashboard(flights), model_dashboard(flights, "shop")]


def panels(pages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for page in pages:
        yield from (panel for panel in page["panels"] if panel["type"] != "row")


def test_the_files_in_the_repository_are_fresh() -> None:
    for path, text in GENERATOR.of_examples(ROOT).items():
        assert (ROOT / path).read_text() == text, f"{path}: run python -m monitoring.dashboards"


def test_every_panel_says_what_it_shows_and_in_which_unit(pages: list[dict[str, Any]]) -> None:
    for panel in panels(pages):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]


def test_panels_lie_beside_each_other(pages: list[dict[str, Any]]) -> None:
    for page in pages:
        taken: set[tuple[int, int]] = set()
        assert len({panel["id"] for panel in page["panels"]}) == len(page["panels"])
        for panel in page["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert place["x"] + place["w"] <= 24
            assert not cells & taken, panel["title"]
            taken |= cells


def test_a_version_has_one_colour_in_every_panel(pages: list[dict[str, Any]]) -> None:
    seen: dict[str, set[str]] = {}
    for panel in panels(pages):
        overrides = panel["fieldConfig"]["overrides"]
        for target in panel["targets"]:
            if "{{version}}" not in target["legendFormat"] or panel["type"] != "timeseries":
                continue
            for version in ("1", "9", "10", "19"):
                name = target["legendFormat"].replace("{{version}}", version)
                colours = {
                    prop["value"]["fixedColor"]
                    for override in overrides
                    if re.search(override["matcher"]["options"].strip("/"), name)
                    for prop in override["properties"]
                    if prop["id"] == "color"
                }
                assert len(colours) == 1, (panel["title"], name)
                seen.setdefault(version, set()).update(colours)
    assert {len(colours) for colours in seen.values()} == {1}
    assert seen["9"] != seen["10"]


def test_every_query_asks_the_chosen_datasource_about_the_chosen_models(
    pages: list[dict[str, Any]],
) -> None:
    for panel in panels(pages):
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            selectors = re.findall(r"(?:noria_\w+|ALERTS)({[^}]*}|)", target["expr"])
            assert all("$namespace" in s and "$model" in s for s in selectors), target["expr"]
    for page in pages:
        names = [variable["name"] for variable in page["templating"]["list"]]
        assert sorted(names) == ["datasource", "model", "namespace"]


def test_a_model_dashboard_looks_at_its_namespace(pages: list[dict[str, Any]]) -> None:
    _, anywhere, in_shop = pages
    current = [
        next(v for v in page["templating"]["list"] if v["name"] == "namespace")["current"]["value"]
        for page in (anywhere, in_shop)
    ]
    assert current == ["$__all", "shop"]
    assert anywhere["uid"] == "noria-flights"
    assert in_shop["uid"] == "noria-shop-flights"


def test_uids_fit_into_grafana(flights: Model) -> None:
    metadata = flights.metadata.model_copy(update={"name": "m" * 63})
    long = model_dashboard(flights.model_copy(update={"metadata": metadata}), "n" * 63)
    other = model_dashboard(flights.model_copy(update={"metadata": metadata}), "n" * 62)
    assert len(long["uid"]) <= 40
    assert long["uid"] != other["uid"]


def test_every_rule_of_prometheus_is_one_of_grafana_with_the_same_labels(flights: Model) -> None:
    text = grafana_files([flights])["provisioning/alerting/noria-rules.yaml"]
    (group,) = yaml.safe_load(text)["groups"]
    made = {rule["title"].split()[0]: rule for rule in group["rules"]}
    rules = rules_of(flights)
    assert set(made) == {rule.name for rule in rules}
    assert len({rule["uid"] for rule in group["rules"]}) == len(rules)
    assert made["NoriaDrift"]["labels"]["noria_signal"] == "drift"
    for rule in rules:
        query, condition = made[rule.name]["data"]
        assert query["model"]["expr"] == rule.expr
        assert condition["model"]["expression"] == "$A == $A"
        assert made[rule.name]["noDataState"] == "OK"
        # Provisioning would take $NAME in a title or a label for an environment variable.
        assert "$" not in made[rule.name]["title"] + json.dumps(made[rule.name]["labels"])


def test_no_file_holds_an_address_or_a_secret(flights: Model) -> None:
    files = grafana_files([flights])
    point = yaml.safe_load(files["provisioning/alerting/noria-contact-points.yaml"])
    settings = point["contactPoints"][0]["receivers"][0]["settings"]
    assert settings["url"] == "$NORIA_WEBHOOK_URL"
    assert settings["authorization_credentials"] == "$NORIA_WEBHOOK_TOKEN"
    assert not any("http://" in text or "https://" in text for text in files.values())


def test_the_files_of_ones_own_model_go_where_one_says(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "monitoring.dashboards", "-f", str(FLIGHTS)]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "dashboards/flights.json").read_text())["uid"] == "noria-flights"
    assert (tmp_path / "provisioning/alerting/noria-policies.yaml").exists()


def test_a_stale_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["-f", str(FLIGHTS), "--out", str(tmp_path)]
    assert main(GENERATOR, where) == 0
    assert main(GENERATOR, [*where, "--check"]) == 0
    (tmp_path / "dashboards/fleet.json").write_text("{}")
    assert main(GENERATOR, [*where, "--check"]) == 1
    assert "dashboards/fleet.json is stale" in capsys.readouterr().err


def test_a_model_that_is_refused_is_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.yaml").write_text("kind: Model")
    assert main(GENERATOR, ["-f", str(tmp_path / "model.yaml"), "--out", str(tmp_path)]) == 2
    assert "apiVersion" in capsys.readouterr().err


def test_panels_show_the_series_of_another_server_and_no_others(flights: Model) -> None:
    metrics = MetricNames(requests=("a_total", 'b_total{c="d"}'), seconds="took_seconds")
    runtime = Runtime(name="k", format="f", metrics=metrics)
    serving = flights.spec.serving.model_copy(update={"runtime": runtime})
    model = flights.model_copy(
        update={"spec": flights.spec.model_copy(update={"serving": serving})}
    )
    found = {panel["title"]: panel for panel in panels([model_dashboard(model)])}
    asked = found["Requests by version"]["targets"][0]["expr"]
    assert 'rate(b_total{namespace=~"$namespace", model="$model", c="d"}[' in asked
    assert "Errors by version" not in found
    latency = found["Latency p99 by version"]["targets"][0]["expr"]
    assert "took_seconds_bucket{" in latency
    assert "noria_request" not in json.dumps(model_dashboard(model))
    assert model_dashboard(model)["description"].endswith("Its servers count no errors.")
