"""Hold rows out for the gates."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def split(
    model: str,
    frame: dsl.Input[dsl.Dataset],
    train: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
) -> None:
    """Hold rows out for the gates."""
    from pathlib import Path

    from components import steps

    steps.split(model=model, frame=Path(frame.path), train=Path(train.path), test=Path(test.path))
