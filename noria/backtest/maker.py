"""Turns what is to be fitted into jobs, named by everything that their result depends on."""

from __future__ import annotations

import os
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from noria.backtest.history import History
from noria.backtest.jobs import Job, Made
from noria.backtest.pool import Pool, code_digest, digest_of
from noria.files import make_folder
from noria.spec import Model
from noria.spec.retraining import TrainOn

_ROWS_CHARS: Final = 32


class Maker:
    """Candidates and fits of one model on the rows of one history.

    A fit is named by its rows, the sections of the spec that it reads and the code that does it:
    settings of the loop, such as when it retrains, change nothing of it.

    Args:
        model: The model.
        history: Its rows.
        pool: Where fits are done.
        cache: The folder of what was fitted before.
    """

    def __init__(self, model: Model, history: History, pool: Pool, cache: Path) -> None:
        spec = model.spec
        policy = spec.retraining.model_copy(update={"train_on": TrainOn(kind="all")})
        self._model = model
        self._plain = model.model_copy(
            update={"spec": spec.model_copy(update={"retraining": policy})}
        )
        self._history = history
        self._pool = pool
        self._cache = make_folder(cache)
        self._frame = self._kept_frame()
        self._code = code_digest()

    def candidate(self, until: datetime | int, champion: str = "") -> Future[Made]:
        """Have a candidate made of what was known at a time, judged against a package."""
        job = self._job("candidate", self._model, _ms(until), champion=champion)
        return self._pool.submit(job, urgent=True)

    def fit(self, until: int, params: Path) -> Future[Made]:
        """Have the recipe fitted on what was known at a time, all rows alike, judged by nobody."""
        job = self._job("fit", self._plain, until, params=str(params))
        return self._pool.submit(job, urgent=False)

    def _job(
        self,
        kind: Literal["candidate", "fit"],
        model: Model,
        until: int,
        *,
        champion: str = "",
        params: str = "",
    ) -> Job:
        spec = model.spec
        train_on = spec.retraining.train_on
        sections = (spec.task, spec.data, spec.train, spec.gates, train_on)
        name = digest_of(
            [
                kind,
                self._code,
                model.name,
                *(section.model_dump_json() for section in sections),
                str(spec.monitoring.reference_rows),
                self._history.digest(self._history.known(until)),
                str(until) if train_on.window is not None else "",
                # Both lie in folders that are named by their content.
                *(Path(path).parent.name for path in (champion, params)),
            ]
        )
        return Job(
            kind,
            model.model_dump_json(by_alias=True),
            str(self._frame),
            until,
            str(self._cache / "fits" / name),
            champion,
            params,
        )

    def _kept_frame(self) -> Path:
        """Keep the rows where the processes that fit can read them."""
        name = f"{self._history.digest()[:_ROWS_CHARS]}.parquet"
        path = make_folder(self._cache / "rows") / name
        if not path.is_file():
            draft = path.with_suffix(f".{os.getpid()}")
            self._history.frame.to_parquet(draft, index=False)
            draft.replace(path)
        return path


def _ms(at: datetime | int) -> int:
    return at if isinstance(at, int) else round(at.timestamp() * 1000)
