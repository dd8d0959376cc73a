"""Build the reference that the monitor compares live rows with."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def reference(
    model: str,
    package: dsl.Input[dsl.Model],
    frame: dsl.Input[dsl.Dataset],
    test: dsl.Input[dsl.Dataset],
    held_out: dsl.Input[dsl.Dataset],
    reference: dsl.Output[dsl.Artifact],
) -> None:
    """Build the reference that the monitor compares live rows with."""
    from pathlib import Path

    from components import steps

    steps.reference(
        model=model,
        package=Path(package.path),
        frame=Path(frame.path),
        test=Path(test.path),
        held_out=Path(held_out.path),
        reference=Path(reference.path),
    )
