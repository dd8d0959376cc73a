"""Files and texts that are not one Model are refused, and never with a traceback of a parser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from noria.errors import InvalidInput, SpecError
from noria.spec import load_model, parse_model

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

TEXTS = {
    "an empty text": ("", "m: is empty; write a Model; `noria init` makes one to start from"),
    "only a comment": (
        "# nothing\n",
        "m: is empty; write a Model; `noria init` makes one to start from",
    ),
    "only a separator": (
        "---\n",
        "m: is empty; write a Model; `noria init` makes one to start from",
    ),
    "a list": (
        "[1]",
        "m: holds [1], not a mapping; write apiVersion, kind, metadata, spec",
    ),
    "a word": (
        "hello",
        "m: holds 'hello', not a mapping; write apiVersion, kind, metadata, spec",
    ),
    "two documents": (
        "a: 1\n---\nb: 2\n",
        "m: holds 2 YAML documents; keep one Model in a file",
    ),
    "a key twice": (
        "kind: a\nspec:\n  x: 1\n  x: 2\nkind: b\n",
        (
            "spec.x: is there twice, on lines 3 and 4; keep one of them\n"
            "kind: is there twice, on lines 1 and 5; keep one of them"
        ),
    ),
    "a key that is a number": (
        "spec: {1: 2}",
        "spec: the key 1 on line 1 is not text; put it in quotes",
    ),
    "a key that is a list": (
        "spec: {[1]: 2}",
        "spec: the key [1] on line 1 is not text; put it in quotes",
    ),
    "a Python object": (
        "kind: !!python/object/apply:os.system ['true']",
        (
            "kind: the tag tag:yaml.org,2002:python/object/apply:os.system on line 1 is not "
            "allowed; write a plain value"
        ),
    ),
    "an own tag": (
        "kind: !env HOME",
        "kind: the tag !env on line 1 is not allowed; write a plain value",
    ),
    "a value that is not of its tag": (
        "kind: !!int x",
        "kind: 'x' is not what its tag tag:yaml.org,2002:int says; remove the tag",
    ),
    "a bomb of aliases": (BOMB, "m: expands to too many values; use fewer YAML aliases"),
    "a value within itself": ("a: &a [*a]", "m: is nested too deeply; write it flatter"),
    "deep nesting": ("a: " + "[" * 100 + "]" * 100, "m: is nested too deeply; write it flatter"),
    "too much text": (
        "#" * (1 << 20) + "x",
        "m: is larger than 1 MiB; keep data out of the resource",
    ),
    "half a character": (
        "a: \ud800",
        "m: has no character at position 3: '\\ud800'; write it as plain UTF-8 text",
    ),
    "an own merge": ("<<: {a: 1}\nb: 2", None),
}


@pytest.mark.parametrize(
    ("text", "said"), [pytest.param(*case, id=name) for name, case in TEXTS.items()]
)
def test_a_text_that_is_no_model_is_refused(text: str, said: str | None) -> None:
    with pytest.raises(SpecError) as refused:
        parse_model(text, origin="m")
    if said is not None:
        assert str(refused.value) == said


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "a: b: c",
        "\tx: 1",
        "a: 'open",
        "a: *nowhere",
        "a: \x00",
        "{",
        "%YAML 9\n---",
        "?",
        "- a\nb",
    ],
)
def test_broken_yaml_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_model(text, origin="model.yaml")
    assert "\n" not in str(refused.value)


def test_a_syntax_error_names_its_line() -> None:
    with pytest.raises(SpecError, match=r"^m: is not YAML at line 2, column \d+: "):
        parse_model("a: 1\nb: ]\n", origin="m")


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_very_deep_nesting_does_not_exhaust_the_stack(opening: str) -> None:
    with pytest.raises(SpecError):
        parse_model("a: " + opening * 200_000)


def test_the_head_must_be_that_of_a_model(whole: dict[str, Any]) -> None:
    whole["apiVersion"] = "noria.dev/v1"
    whole["kind"] = "model"
    whole["metadata"] = {"name": "My_Model", "uid": "x"}
    whole["status"] = {}
    with pytest.raises(SpecError) as refused:
        parse_model(whole)
    assert [str(problem) for problem in refused.value.problems] == [
        "apiVersion: 'noria.dev/v1' is not allowed; did you mean noria.dev/v1alpha1?",
        "kind: 'model' is not allowed; did you mean Model?",
        (
            "metadata.name: 'My_Model' is not a DNS label; use lower-case letters, digits and '-', "
            "at most 63 characters, with a letter or digit at both ends"
        ),
        (
            "metadata.uid: is an unknown key, with the value 'x'; choose one of name, namespace, "
            "labels, annotations"
        ),
        (
            "status: is an unknown key, with the value {}; "
            "choose one of apiVersion, kind, metadata, spec"
        ),
    ]


def test_an_empty_mapping_is_told_what_it_lacks() -> None:
    with pytest.raises(SpecError) as refused:
        parse_model({})
    assert str(refused.value).splitlines() == [
        "apiVersion: is missing; write noria.dev/v1alpha1",
        "kind: is missing; write Model",
        "metadata: is missing; add it, with name",
        "spec: is missing; add it, with task, data",
    ]


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "A", "a.b", "a_b", "a" * 64, "é", "a\n", "a b", "१"]
)
def test_a_name_that_kubernetes_refuses_is_refused(whole: dict[str, Any], name: str) -> None:
    whole["metadata"]["name"] = name
    with pytest.raises(SpecError) as refused:
        parse_model(whole)
    assert [problem.path for problem in refused.value.problems] == ["metadata.name"]


@pytest.mark.parametrize("name", ["a", "0", "a-b", "flights2013", "a" * 63])
def test_a_name_that_kubernetes_takes_is_taken(whole: dict[str, Any], name: str) -> None:
    whole["metadata"]["name"] = name
    assert parse_model(whole).name == name


@pytest.mark.parametrize("value", [None, 7, [1], "x"])
def test_a_resource_whose_parts_are_no_mappings_is_refused(value: object) -> None:
    with pytest.raises(SpecError):
        parse_model({"apiVersion": value, "kind": value, "metadata": value, "spec": value})


def test_yes_and_no_are_texts_as_in_yaml_1_2(whole: dict[str, Any]) -> None:
    text = yaml.safe_dump(whole)
    with pytest.raises(SpecError, match=r"^spec\.train\.refit: 'no' is text; write true or false$"):
        parse_model(text.replace("refit: true", "refit: no"))


def test_a_file_is_read_with_or_without_a_byte_order_mark(
    tmp_path: Path, whole: dict[str, Any]
) -> None:
    text = yaml.safe_dump(whole)
    plain, marked = tmp_path / "plain.yaml", tmp_path / "marked.yaml"
    plain.write_text(text, encoding="utf-8")
    marked.write_text(text.replace("\n", "\r\n"), encoding="utf-8-sig", newline="")
    assert load_model(plain) == load_model(str(marked)) == parse_model(whole)


def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"kind: caf\xe9\n")
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * ((1 << 20) + 1))
    empty = tmp_path / "empty.yaml"
    empty.touch()
    for path, said in (
        (tmp_path / "none.yaml", "there is no such file; give the path of a model.yaml"),
        (tmp_path, f"is a folder; give a file, such as {tmp_path / 'model.yaml'}"),
        (latin, "byte 9 is not UTF-8; save the file as UTF-8"),
        (large, "is larger than 1 MiB; keep data out of the resource"),
        (empty, "is empty; write a Model; `noria init` makes one to start from"),
    ):
        with pytest.raises(InvalidInput) as refused:
            load_model(path)
        assert str(refused.value) == f"{path}: {said}"


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000])
def test_an_impossible_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match="can't be read"):
        load_model(path)


def test_a_refusal_has_the_exit_code_of_wrong_input() -> None:
    with pytest.raises(SpecError) as refused:
        parse_model("x: 1")
    assert refused.value.exit_code == 2
