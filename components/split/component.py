"""Hold out the rows that judge: with a champion, the newest that it has not seen."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def split(
    model: str,
    champion: str,
    tracking_uri: str,
    artifacts: str,
    frame: dsl.Input[dsl.Dataset],
    train: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
) -> None:
    """Hold out the rows that judge: with a champion, the newest that it has not seen."""
    from pathlib import Path

    from components import steps

    steps.split(
        model=model,
        champion=champion,
        registry=(tracking_uri, Path(artifacts)),
        frame=Path(frame.path),
        train=Path(train.path),
        test=Path(test.path),
    )
