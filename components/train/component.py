"""Fit the model for the gates, and again on all rows to be served."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def train(
    model: str,
    run_id: str,
    image: str,
    claim: str,
    frame: dsl.Input[dsl.Dataset],
    train: dsl.Input[dsl.Dataset],
    params: dsl.Input[dsl.Artifact],
    candidate: dsl.Output[dsl.Model],
    package: dsl.Output[dsl.Model],
) -> None:
    """Fit the model for the gates, and again on all rows to be served."""
    from pathlib import Path

    from components import steps

    steps.train(
        model=model,
        frame=Path(frame.path),
        train=Path(train.path),
        params=Path(params.path),
        candidate=Path(candidate.path),
        package=Path(package.path),
        nodes={"run_id": run_id, "image": image, "claim": claim},
    )
