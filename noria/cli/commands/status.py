"""``noria status``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from noria.cli.facade import embedded
from noria.cli.options import DEFAULT_HOME, HomeOption, NamespaceOption
from noria.cli.output import hint, say, say_json
from noria.cli.places import flags, place_of

if TYPE_CHECKING:
    from noria.view import ModelView

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
    models = list(place_of(home, namespace).overview())
    damaged = list(embedded().damaged(home)) if namespace is None else []
    if as_json:
        where = {"home": str(home.resolve())} if namespace is None else {"namespace": namespace}
        say_json({**where, "models": models, "damaged": damaged})
        return
    if damaged:
        say(f"damaged files set aside: {', '.join(damaged)} (delete them once you have looked)")
    if not models:
        say(f"no model in {home if namespace is None else namespace}")
        if namespace is None:
            hint("noria", "init", "my-model")
            hint("noria", "up", "-f", "my-model/model.yaml", *flags(home, namespace))
        else:
            hint("kubectl", "apply", "-n", namespace, "-f", "my-model/model.yaml")
        return
    for model in models:
        _describe(model)
    for model in models:
        _next(model, flags(home, namespace), local=namespace is None)


def _describe(model: ModelView) -> None:
    from noria.view import doing_text, facts

    say(f"{model.name}: {doing_text(model)}")
    for name, text in facts(model):
        say(f"  {name:<14}{text}")
    say()


def _next(model: ModelView, where: tuple[str, ...], *, local: bool) -> None:
    from noria.view import Attendance

    if local and model.attendance is not Attendance.TURNING:
        hint("noria", "up", *where, note="carries on where it was")
        return
    if model.stage.paused and not model.breaker_open:
        hint("noria", "rollout", "resume", model.name, *where)
        return
    hint("noria", "why", model.name, *where)
    if model.breaker_open or model.problem is not None:
        verb = "reset-breaker" if model.breaker_open else "retrain"
        hint("noria", "rollout", verb, model.name, *where, note="when you know why")
