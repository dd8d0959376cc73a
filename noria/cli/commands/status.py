"""``noria status``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from noria.cli.cluster import connected, facts
from noria.cli.facade import ModelStatus, embedded
from noria.cli.options import DEFAULT_HOME, HomeOption, NamespaceOption
from noria.cli.output import hint, say, say_json

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
    home: HomeOption = DEFAULT_HOME,
    namespace: NamespaceOption = None,
) -> None:
    """Show what each model is doing.

    Who answers, what is rolling out, what drifted, how good it is, how many retrains are left.
    """
    if namespace is not None:
        models_there = connected(namespace).models()
        if as_json:
            told = [{"model": m["metadata"]["name"], **m.get("status", {})} for m in models_there]
            say_json({"namespace": namespace, "models": told})
        else:
            _of_cluster(namespace, models_there)
        return
    models = embedded().status(home)
    if as_json:
        say_json({"home": str(home.resolve()), "models": list(models)})
        return
    if not models:
        say(f"no model in {home}")
        hint("noria init my-model", "noria up -f my-model/model.yaml")
        return
    for model in models:
        _describe(model)
    for model in models:
        _next(model)


def _describe(model: ModelStatus) -> None:
    flags = [word for word, on in (("paused", model.paused), ("LOOP-BREAKER OPEN",
             model.breaker_open)) if on]  # fmt: skip
    say(f"{model.model}: {model.stage}{''.join(f' [{flag}]' for flag in flags)}")
    traffic = ", ".join(f"v{name} {share} %" for name, share in model.weights.items())
    found: list[tuple[str, Any]] = [
        ("url", model.url),
        ("champion", model.champion and f"v{model.champion}"),
        ("candidate", model.candidate and f"v{model.candidate}"),
        ("traffic", traffic),
        ("step", model.step),
        ("problem", model.problem),
        ("verdict", model.last_verdict),
        ("run", model.run),
        ("drift", model.drift),
        ("performance", ", ".join(f"{k} {_number(v)}" for k, v in model.performance.items())),
        ("retrains left", model.retrains_left),
    ]
    for name, value in found:
        if value is not None and value != "":
            _fact(name, value)
    for process in model.processes:
        _fact("process", process)
    say()


def _of_cluster(namespace: str, models: Sequence[Mapping[str, Any]]) -> None:
    if not models:
        say(f"no model in {namespace}")
        hint(f"kubectl apply -n {namespace} -f my-model/model.yaml")
    for body in models:
        stage = (body.get("status") or {}).get("stage") or "no operator has looked at it yet"
        say(f"{body['metadata']['name']}: {stage}")
        for name, value in facts(body):
            _fact(name, value)
        say()
    for body in models:
        hint(f"noria why {body['metadata']['name']} --namespace {namespace}")


def _fact(name: str, value: Any) -> None:
    say(f"  {name:<14}{value}")


def _next(model: ModelStatus) -> None:
    if not any(str(process).startswith("loop") for process in model.processes):
        hint("noria up    (carries on where it was)")
    elif model.breaker_open:
        hint(f"noria why {model.model}, then noria rollout reset-breaker {model.model}")
    elif model.paused:
        hint(f"noria rollout resume {model.model}")
    elif model.problem is not None:
        hint(f"noria why {model.model}, then noria rollout retrain {model.model}")
    else:
        hint(f"noria why {model.model}")


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)
