"""Hold the rows against the rules of the model resource, and look for leakage."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def validate(
    model: str,
    rows: dsl.Input[dsl.Dataset],
    report: dsl.Output[dsl.Artifact],
) -> None:
    """Hold the rows against the rules of the model resource, and look for leakage."""
    from pathlib import Path

    from components import steps

    steps.validate(model=model, rows=Path(rows.path), report=Path(report.path))
