"""Register the package as a version, with everything that belongs to it."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def register(
    model: str,
    base: str,
    run_id: str,
    as_of: str,
    reason: str,
    champion: str,
    fingerprint: str,
    tracking_uri: str,
    artifacts: str,
    package: dsl.Input[dsl.Model],
    reference: dsl.Input[dsl.Artifact],
    evaluation: dsl.Input[dsl.Artifact],
    plots: dsl.Input[dsl.Artifact],
    params: dsl.Input[dsl.Artifact],
    test: dsl.Input[dsl.Dataset],
) -> str:
    """Register the package as a version, with everything that belongs to it."""
    from pathlib import Path

    from components import steps

    return steps.register(
        model=model,
        run={
            "run_id": run_id,
            "as_of": as_of,
            "reason": reason,
            "champion": champion,
            "fingerprint": fingerprint,
            "base": base,
        },
        registry=(tracking_uri, Path(artifacts)),
        package=Path(package.path),
        reference=Path(reference.path),
        evaluation=Path(evaluation.path),
        plots=Path(plots.path),
        params=Path(params.path),
        test=Path(test.path),
    )
