"""CSV files as people write them: read as the spec says, or refused by line and name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noria.errors import DataError, SpecError
from noria.spec import ModelSpec
from noria.tasks.families import family

MakeSpec = Callable[..., ModelSpec]
TASKS = family("tabular-classification")
TYPES = {"name": "categorical", "size": "numeric", "open": "boolean"}


@pytest.fixture
def read(spec_of: MakeSpec, tmp_path: Path) -> Callable[..., Any]:
    """Return a reader of one file's content, or of several, with options of ``source.csv``."""

    def ingest(*contents: str | bytes, **options: Any) -> Any:
        for place, content in enumerate(contents):
            raw = content.encode() if isinstance(content, str) else content
            (tmp_path / f"{place}.csv").write_bytes(raw)
        spec = spec_of(
            data={
                "source": {"csv": {"paths": ["*.csv"], **options}},
                "features": [{"name": name, "type": kind} for name, kind in TYPES.items()],
                "target": "y",
                "eventTime": "at",
                "labelTime": None,
                "entityKey": ["id"],
                "timeFeatures": [],
            }
        )
        return TASKS.ingest(spec, tmp_path, None)

    return ingest


HEADER = "id,at,name,size,open,y\n"
ROW = "1,2026-01-01,a,1.5,true,yes\n"


def problems(read: Callable[..., Any], *contents: str | bytes, **options: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        read(*contents, **options)
    error = caught.value
    return [str(problem) for problem in error.problems] or [str(error)]


def test_texts_stay_texts_and_only_an_empty_field_is_missing(read: Callable[..., Any]) -> None:
    names = ["NA", "null", "None", "nan", "N/A", "#N/A", "007", "7.0", "7", " a ", '""', ""]
    rows = read(
        HEADER
        + "".join(
            f"{i:02},2026-01-01,{name},1,0,{'NA' if i % 2 else 'x'}\n"
            for i, name in enumerate(names)
        )
    )
    found = [None if name != name else name for name in rows["name"]]
    assert found == [*names[:-2], "", None]
    assert rows["y"].tolist() == ["x", "NA"] * 6


@pytest.mark.parametrize("label", ["NA", "null", "None", "nan", "N/A"])
def test_a_class_may_have_any_name(read: Callable[..., Any], label: str) -> None:
    rows = read(f"{HEADER}1,2026-01-01,a,1,1,{label}\n2,2026-01-01,a,1,1,yes\n")
    assert rows["y"].tolist() == [label, "yes"]


def test_what_is_missing_is_the_specs_to_say(read: Callable[..., Any]) -> None:
    content = f'{HEADER}1,2026-01-01,NA,NA,"NA",a\n2,2026-01-01,"NA",-,,NA\n3,2026-01-01,b,"",1,b\n'
    rows = read(content, missingValues=["", "NA", "-"])
    assert rows["id"].tolist() == ["1", "3"]
    rows = read(content.replace(",NA\n3", ",c\n3"), missingValues=["", "NA", "-"])
    assert rows["name"].isna().tolist() == [True, False, False]
    assert rows["size"].isna().all()
    assert rows["open"].isna().tolist() == [True, True, False]
    (said, _) = problems(read, content)
    assert "column size: row 1: 'NA' is not a number (2 such rows)" in said
    assert "spec.data.source.csv.missingValues" in said


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["1", "0"], [1, 0]),
        (["1.0", "0.0"], [1, 0]),
        (["True", "false"], [True, False]),
        (["yes", "no"], ["yes", "no"]),
        (["01", "02"], ["01", "02"]),
        (["1", "x"], ["1", "x"]),
    ],
)
def test_labels_are_of_one_type(
    read: Callable[..., Any], labels: list[str], classes: list[Any]
) -> None:
    one, two = (HEADER + f"{i},2026-01-01,a,1,1,{label}\n" for i, label in enumerate(labels))
    assert read(one, two)["y"].tolist() == classes


def test_numbers_are_read_exactly_and_by_their_decimal_sign(read: Callable[..., Any]) -> None:
    written = ["0.1", " 1e-3 ", "+2.5", ".5", "5.", "1e22", "-0", "123456789.123456789"]
    lines = [f"{i},2026-01-01,a,{number},1,yes\n" for i, number in enumerate(written)]
    assert read(HEADER + "".join(lines))["size"].tolist() == [float(text) for text in written]
    content = (HEADER + ROW.replace("1.5", "1;5")).replace(",", ";").replace("1;5;t", "1,5;t")
    assert read(content, separator=";", decimal=",")["size"].tolist() == [1.5]
    (said,) = problems(read, content, separator=";")
    assert "'1,5' is not a number" in said
    assert "spec.data.source.csv.decimal to ','" in said


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("9007199254740993", "9007199254740993 is beyond 2^53"),
        ("inf", "'inf' is not a number"),
        ("1_000", "'1_000' is not a number"),
        ("0x10", "'0x10' is not a number"),
        ("1e999", "inf is not a finite number"),
        ("1 000", "'1 000' is not a number"),
    ],
)
def test_a_number_that_is_none_is_refused(read: Callable[..., Any], number: str, said: str) -> None:
    (found,) = problems(read, HEADER + ROW + ROW.replace("1.5", number))
    assert f"column size: row 2: {said}" in found


def test_a_boolean_of_more_than_two_values_is_refused(read: Callable[..., Any]) -> None:
    rows = read(HEADER + "".join(f"{i},2026-01-01,a,1,{v},b\n" for i, v in enumerate("1001")))
    assert rows["open"].tolist() == [True, False, False, True]
    (said,) = problems(read, HEADER + ROW.replace("true", "6"))
    assert "column open: row 1: '6' is not true or false" in said


@pytest.mark.parametrize(
    ("written", "options"),
    [
        ("2026-01-31T09:30:00Z", {}),
        ("2026-01-31 18:30:00+09:00", {}),
        ("1769851800000", {}),
        ("31.01.2026 09:30", {"dateFormat": "%d.%m.%Y %H:%M"}),
        ("01/31/26 18:30 +0900", {"dateFormat": "%m/%d/%y %H:%M %z"}),
    ],
)
def test_moments_are_read_as_they_are_written(
    read: Callable[..., Any], written: str, options: dict[str, Any]
) -> None:
    rows = read(HEADER + ROW.replace("2026-01-01", written), **options)
    assert rows["at"].dt.strftime("%Y-%m-%dT%H:%M:%S%z").tolist() == ["2026-01-31T09:30:00+0000"]


@pytest.mark.parametrize("written", ["31.01.2026", "2026-02-30", "soon", "1769851800", "now"])
def test_a_moment_that_is_none_is_refused(read: Callable[..., Any], written: str) -> None:
    (said,) = problems(read, HEADER + ROW.replace("2026-01-01", written))
    assert "column at: row 1: " in said


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949", "euc-kr"])
def test_files_are_read_in_their_encoding(read: Callable[..., Any], encoding: str) -> None:
    named = encoding if encoding not in ("utf-8", "utf-8-sig") else "utf-8"
    rows = read((HEADER + ROW.replace(",a,", ",서울,")).encode(encoding), encoding=named)
    assert rows["name"].tolist() == ["서울"]


@pytest.mark.parametrize(
    ("encoding", "fix"), [("cp949", "encoding: cp949"), ("utf-16", "encoding: utf-16")]
)
def test_another_encoding_is_named(read: Callable[..., Any], encoding: str, fix: str) -> None:
    (said,) = problems(read, (HEADER + ROW.replace(",a,", ",서울,")).encode(encoding))
    assert "is not utf-8" in said
    assert fix in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        (HEADER, "has a header and no rows"),
        (ROW + ROW, "its first line looks like a row"),
        (HEADER.replace("name", "id") + ROW, "has the column 'id' 2 times, at 1, 3"),
        (HEADER + ROW + "2,2026-01-01,b\n", "line 3 has 3: '2,2026-01-01,b'"),
        (HEADER + ROW.replace(",a,", ',"a\nb",') + "2,x,y,z,1,2,3\n", "line 4 has 7: "),
        (HEADER + ROW.replace(",a,", ",a,b,"), "line 2 has 7: "),
        ((HEADER + ROW).replace(",", ";"), "set spec.data.source.csv.separator: ';'"),
        ((HEADER + ROW).replace(",", "\t"), "set spec.data.source.csv.separator: '\\t'"),
        (HEADER + ROW.replace(",a,", ",a\0b,"), "line 2 holds a NUL character"),
        (HEADER + ROW.replace(",a,", ',"a,') + ROW * 3, "the record after line 1: "),
        (HEADER + ROW.replace(",a,", ',"a"b,'), "the record after line 1: "),
    ],
)
def test_a_broken_file_is_refused_with_its_line(
    read: Callable[..., Any], content: str, said: str
) -> None:
    found = problems(read, content)
    assert any(said in problem for problem in found), found
    assert all("0.csv" in problem for problem in found)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_long_lines_and_embedded_newlines_are_read(
    read: Callable[..., Any], end: str
) -> None:
    name = "x" * 100_000
    body = f'1,2026-01-01,"a\nb, ""c""",1,1,yes\n2,2026-01-01,{name},1,1,no'
    rows = read((HEADER + body).replace("\n", end))
    assert rows["name"].tolist() == [f'a{end}b, "c"', name]


def test_problems_of_several_files_name_each(read: Callable[..., Any]) -> None:
    found = problems(read, HEADER.replace("open", "closed") + ROW, HEADER + "1,2\n" + ROW)
    assert any("0.csv: has no column open" in problem for problem in found)
    assert any("1.csv: the header has 6 fields" in problem for problem in found)
    (said,) = problems(read, HEADER + ROW, HEADER + ROW + ROW.replace("1.5", "far"))
    assert "1.csv: column size: row 2: 'far' is not a number" in said


def test_keys_that_are_whole_numbers_sort_as_numbers(read: Callable[..., Any]) -> None:
    ids = [str(2**53 + 1), "10", "9", str(2**53)]
    rows = read(HEADER + "".join(f"{i},2026-01-01,a,1,1,yes\n" for i in ids))
    assert rows["id"].tolist() == sorted(ids, key=int)
    assert np.all(np.diff([int(i) for i in rows["id"]]) > 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"separator": ";;"}, "separator"),
        ({"separator": "a"}, "separator"),
        ({"decimal": ","}, "',' is also the separator"),
        ({"encoding": "utf-9"}, "'utf-9' is not an encoding"),
        ({"dateFormat": "%Y"}, "does not write a date that can be read again"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    read: Callable[..., Any], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        read(HEADER + ROW, **options)
