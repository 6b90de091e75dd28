"""os-release is read as a shell would read it, and never fails."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core import osrelease


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("V=plain", "plain"),
        ("V=a=b=c", "a=b=c"),
        ('V="two words"', "two words"),
        ("V='single $HOME \\n'", "single $HOME \\n"),
        ('V="a \\"b\\" \\$c \\\\ \\`d\\`"', 'a "b" $c \\ `d`'),
        ('V="back\\slash"', "back\\slash"),
        ("V=es\\caped", "escaped"),
        ("V=half'quoted part'\"s\"", "halfquoted parts"),
        ("V=two words", "two words"),
        ("V=value # remark", "value"),
        ("V=no#remark", "no#remark"),
        ('V="# kept"', "# kept"),
        ("V=trailing   ", "trailing"),
        ('V="kept  "', "kept  "),
        ("  V=indented", "indented"),
        ("V=carriage\r", "carriage"),
        ('V="never closed', "never closed"),
        ("\ufeffV=marked", "marked"),
    ],
)
def test_value_is_unquoted_like_a_shell_assignment(line: str, value: str) -> None:
    assert osrelease.parse(line + "\n") == {"V": value}


@pytest.mark.parametrize("line", ["V=", 'V=""', "V=''", "# V=1", "V 1", "=1", "", "1V=2", "V=#"])
def test_empty_values_comments_and_other_lines_are_missing(line: str) -> None:
    assert osrelease.parse(line) == {}


def test_last_assignment_counts_even_if_empty() -> None:
    assert osrelease.parse("A=1\nA=2\nB=1\nB=\n") == {"A": "2"}


def test_id_is_lower_case_but_names_are_not_touched() -> None:
    parsed = osrelease.parse('ID=Foo\nID_LIKE="Bar BAZ"\nNAME=Foo\n')
    assert parsed == {"ID": "foo", "ID_LIKE": "bar baz", "NAME": "Foo"}


@given(st.text())
def test_any_text_gives_variables_that_are_not_empty(text: str) -> None:
    assert all(osrelease.parse(text).values())


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1))
def test_what_a_shell_quotes_comes_back(value: str) -> None:
    assert osrelease.parse(f"V={shlex.quote(value)}") == {"V": value}
