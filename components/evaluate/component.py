"""Measure the held-out predictions, and the champion on the same rows."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def evaluate(
    model: str,
    champion: str,
    tracking_uri: str,
    artifacts: str,
    candidate: dsl.Input[dsl.Model],
    test: dsl.Input[dsl.Dataset],
    held_out: dsl.Input[dsl.Dataset],
    evaluation: dsl.Output[dsl.Artifact],
    plots: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Measure the held-out predictions, and the champion on the same rows."""
    from pathlib import Path

    from components import steps

    found = steps.evaluate(
        model=model,
        champion=champion,
        registry=(tracking_uri, Path(artifacts)),
        candidate=Path(candidate.path),
        test=Path(test.path),
        held_out=Path(held_out.path),
        evaluation=Path(evaluation.path),
        plots=Path(plots.path),
    )
    for name, value in found.items():
        metrics.log_metric(name, value)
