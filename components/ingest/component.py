"""Read the labelled rows that were known at a time, and return their fingerprint."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def ingest(
    model: str,
    base: str,
    as_of: str,
    rows: dsl.Output[dsl.Dataset],
    served: str = "",
) -> str:
    """Read the labelled rows that were known at a time, and return their fingerprint."""
    from pathlib import Path

    from components import steps

    return steps.ingest(model=model, base=base, as_of=as_of, rows=Path(rows.path), served=served)
