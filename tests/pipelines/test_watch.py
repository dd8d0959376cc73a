"""What a run printed, as steps and as the reason of a failure."""

from __future__ import annotations

import io

from pipelines.watch import Watch, explain

PRINTED = """\
12:00:00.000 - INFO - Running pipeline: \x1b[95m'noria-training'\x1b[0m
--------------------------------------------------------------------------------
12:00:00.001 - INFO - Executing task \x1b[96m'ingest'\x1b[0m
12:00:00.002 - INFO - Streamed logs:

    Traceback (most recent call last):
    ValueError: of a step that went well in the end
12:00:01.000 - INFO - Task \x1b[96m'ingest'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
12:00:01.001 - INFO - Executing task \x1b[96m'validate'\x1b[0m
    [KFP Executor 2026-01-01 12:00:01,500 INFO]: Looking for component `validate`
    12:00:00.000 - INFO - Executing task 'not-a-step'
    Traceback (most recent call last):
      File "base.py", line 1, in <module>
        read()
    FileNotFoundError: rows.parquet

    The above exception was the direct cause of the following exception:

    Traceback (most recent call last):
      File "/tmp/x/ephemeral_component.py", line 20, in validate
        raise DataError(text)
    noria.errors.DataError: spec.data.validation.minRows: 3 rows
    and a second line


12:00:02.000 - INFO - Task finished
"""


def watched(text: str) -> tuple[Watch, list[str], str]:
    steps: list[str] = []
    log = io.StringIO()
    watch = Watch(log, steps.append)
    for at in range(0, len(text), 7):  # in pieces, as a terminal gets it
        watch.write(text[at : at + 7])
    watch.finish()
    return watch, steps, log.getvalue()


def test_steps_are_noticed_and_what_a_step_prints_is_not_mistaken_for_one() -> None:
    watch, steps, _ = watched(PRINTED)

    assert steps == ["ingest", "validate"]
    assert watch.step == "validate"
    assert set(watch.seconds) == {"ingest", "validate"}


def test_the_log_has_everything_but_the_colours() -> None:
    _, _, log = watched(PRINTED)

    assert "\x1b" not in log
    assert "Executing task 'ingest'" in log
    assert "second line" in log


def test_the_reason_is_the_message_of_the_last_error_of_the_failed_step() -> None:
    watch, _, _ = watched(PRINTED)

    assert watch.reason() == "spec.data.validation.minRows: 3 rows\nand a second line"


def test_an_error_that_is_not_ours_keeps_its_class() -> None:
    lines = ["Traceback (most recent call last):", '  File "x", line 1', "KeyError: 'distance'"]

    assert explain(lines) == "KeyError: 'distance'"


def test_a_step_that_was_killed_says_so() -> None:
    assert "killed" in explain(["[KFP Executor] working"])
