"""Verdicts as JUnit XML and as GitHub's annotations, with whatever a run's name or sentence holds."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from clipdefend.gates.annotations import github_errors, is_github
from clipdefend.gates.junit import junit_xml
from clipdefend.gates.verdict import Gate

NASTY = 'a "<b>" & \x00\x1b[31m\ud800 \u0394\U0001f34c\n]]> 100 %, x:y'


def gate(passed: bool, sentence: str) -> Gate:
    return Gate(flag="--max-asr", metric="asr@5", bound=0.2, value=0.1, passed=passed, sentence=sentence)


def read(gates: list[Gate], **changes: object) -> ElementTree.Element:
    values = {
        "command": "evaluate",
        "run": "007-evaluate-x",
        "start": "2031-02-03T04:05:06.789+00:00",
        "seconds": 1.5,
    }
    written = junit_xml(gates, **{**values, "properties": {}, **changes})  # type: ignore[arg-type]
    return ElementTree.fromstring(written)


def test_junit_has_a_case_for_each_gate_and_counts_failures() -> None:
    root = read([gate(True, "fine"), gate(False, "too high"), gate(True, "low")], properties={"asr@5": 0.1})
    assert (root.tag, root.attrib) == ("testsuites", {"name": "clipdefend"})
    (suite,) = root
    assert suite.attrib == {
        "name": "clipdefend evaluate 007-evaluate-x",
        "tests": "3",
        "failures": "1",
        "errors": "0",
        "skipped": "0",
        "time": "1.500",
        "timestamp": "2031-02-03T04:05:06",
    }
    first, second, third = suite.findall("testcase")
    assert first.get("time") == "0"
    assert third.findtext("system-out") == "low"
    assert first.get("name") == second.get("name") == "asr@5 <= 0.2"
    assert first.get("classname") == "clipdefend.evaluate.007-evaluate-x"
    assert first.find("failure") is None
    assert first.findtext("system-out") == "fine"
    failure = second.find("failure")
    assert failure is not None
    assert (failure.get("message"), failure.get("type"), failure.text) == (
        "too high",
        "--max-asr",
        "too high",
    )
    (entry,) = suite.findall("properties/property")
    assert entry.attrib == {"name": "asr@5", "value": "0.1"}


def test_junit_is_well_formed_whatever_it_holds() -> None:
    (suite,) = read([gate(False, NASTY)], run=NASTY, properties={NASTY: NASTY})
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.text == NASTY.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace(
        "\ud800", "\ufffd"
    )


@pytest.mark.parametrize("allowed", [0x9, 0xA, 0x20, 0xD7FF, 0xE000, 0xFFFD, 0x10000, 0x10FFFF])
def test_junit_keeps_what_xml_can_hold(allowed: int) -> None:
    (suite,) = read([], run=f"a{chr(allowed)}b")
    shown = " " if allowed in (0x9, 0xA) else chr(allowed)
    assert suite.get("name") in (f"clipdefend evaluate a{chr(allowed)}b", f"clipdefend evaluate a{shown}b")


@pytest.mark.parametrize("forbidden", [0x0, 0x8, 0xB, 0xC, 0xE, 0x1F, 0xD800, 0xDFFF, 0xFFFE, 0xFFFF])
def test_junit_replaces_what_xml_cannot_hold(forbidden: int) -> None:
    (suite,) = read([], run=f"a{chr(forbidden)}b")
    assert suite.get("name") == "clipdefend evaluate a\ufffdb"


def test_junit_is_a_file_with_a_declaration_and_a_line_for_each_element() -> None:
    written = junit_xml(
        [gate(True, "fine")], command="evaluate", run="r", start="s", seconds=0, properties={}
    )
    lines = written.decode("utf-8").splitlines()
    assert lines[0] == "<?xml version='1.0' encoding='utf-8'?>"
    assert lines[1:3] == ['<testsuites name="clipdefend">', lines[2]]
    assert lines[-1] == "</testsuites>"


def test_an_annotation_is_one_line_that_ends_nothing_early() -> None:
    (line,) = github_errors([gate(True, "fine"), gate(False, "100 % of a,b::c\r\nd")])
    assert line == "::error title=clipdefend gate asr@5 <= 0.2::100 %25 of a,b::c%0D%0Ad"
    (titled,) = github_errors(
        [Gate(flag="--min-ba", metric="a:b,c%", bound=0.5, value=0, passed=False, sentence="x")]
    )
    assert titled == "::error title=clipdefend gate a%3Ab%2Cc%25 >= 0.5::x"


@pytest.mark.parametrize(("value", "found"), [("true", True), ("false", False), ("1", False), (None, False)])
def test_github_is_known_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, value: str | None, found: bool
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    if value is not None:
        monkeypatch.setenv("GITHUB_ACTIONS", value)
    assert is_github() is found
