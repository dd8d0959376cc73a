"""Add looked-up features, as of each row's event, and time features."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def features(
    model: str,
    base: str,
    rows: dsl.Input[dsl.Dataset],
    frame: dsl.Output[dsl.Dataset],
) -> None:
    """Add looked-up features, as of each row's event, and time features."""
    from pathlib import Path

    from components import steps

    steps.features(model=model, base=base, rows=Path(rows.path), frame=Path(frame.path))
