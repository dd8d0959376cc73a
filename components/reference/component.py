"""Build the reference that the monitor compares live rows with."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def reference(
    model: str,
    package: dsl.Input[dsl.Model],
    train: dsl.Input[dsl.Dataset],
    test: dsl.Input[dsl.Dataset],
    reference: dsl.Output[dsl.Artifact],
) -> None:
    """Build the reference that the monitor compares live rows with."""
    from pathlib import Path

    from components import steps

    steps.reference(
        model=model,
        package=Path(package.path),
        train=Path(train.path),
        test=Path(test.path),
        reference=Path(reference.path),
    )
