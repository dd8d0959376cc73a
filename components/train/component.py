"""Predict the judged rows by rolling origins, and fit the model to be served."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def train(
    model: str,
    run_id: str,
    image: str,
    claim: str,
    champion: str,
    tracking_uri: str,
    artifacts: str,
    frame: dsl.Input[dsl.Dataset],
    test: dsl.Input[dsl.Dataset],
    params: dsl.Input[dsl.Artifact],
    candidate: dsl.Output[dsl.Model],
    package: dsl.Output[dsl.Model],
    held_out: dsl.Output[dsl.Dataset],
) -> None:
    """Predict the judged rows by rolling origins, and fit the model to be served."""
    from pathlib import Path

    from components import steps

    steps.train(
        model=model,
        champion=champion,
        registry=(tracking_uri, Path(artifacts)),
        frame=Path(frame.path),
        test=Path(test.path),
        params=Path(params.path),
        candidate=Path(candidate.path),
        package=Path(package.path),
        held_out=Path(held_out.path),
        nodes={"run_id": run_id, "image": image, "claim": claim},
    )
