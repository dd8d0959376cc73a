"""Search hyperparameters by cross-validation."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def tune(
    model: str,
    train: dsl.Input[dsl.Dataset],
    params: dsl.Output[dsl.Artifact],
) -> None:
    """Search hyperparameters by cross-validation."""
    from pathlib import Path

    from components import steps

    steps.tune(
        model=model,
        train=Path(train.path),
        params=Path(params.path),
        workdir=Path(params.path).parent / "search",
    )
