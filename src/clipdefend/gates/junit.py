"""Gates as JUnit XML, which CI services show as tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from clipdefend.gates.verdict import Judged


def junit_xml(
    gates: Sequence[Judged],
    *,
    command: str,
    run: str,
    start: str,
    seconds: float,
    properties: Mapping[str, object],
) -> bytes:
    """One test suite with a test case for each gate.

    Args:
        gates: verdicts.
        command: whose gates they are.
        run: name of the run, which the suite and the cases carry.
        start: when the run began, ISO 8601.
        seconds: how long it took; all of it stands on the suite.
        properties: name -> value of the suite, such as the metrics.

    Returns:
        UTF-8 XML.

    Reference: the schema of Jenkins' xUnit plugin (junit-10.xsd), which GitHub's and GitLab's readers take.
    """
    suite = ElementTree.Element(
        "testsuite",
        name=_text(f"clipdefend {command} {run}"),
        tests=str(len(gates)),
        failures=str(sum(not gate.passed for gate in gates)),
        errors="0",
        skipped="0",
        time=f"{seconds:.3f}",
        timestamp=start[:19],
    )
    listed = ElementTree.SubElement(suite, "properties")
    for name, value in properties.items():
        ElementTree.SubElement(listed, "property", name=_text(name), value=_text(str(value)))
    for gate in gates:
        classname = _text(f"clipdefend.{command}.{run}")
        case = ElementTree.SubElement(suite, "testcase", classname=classname, name=gate.name, time="0")
        if gate.passed:
            ElementTree.SubElement(case, "system-out").text = _text(gate.sentence)
        else:
            failure = ElementTree.SubElement(case, "failure", message=_text(gate.sentence), type=gate.flag)
            failure.text = _text(gate.sentence)
    suites = ElementTree.Element("testsuites", name="clipdefend")
    suites.append(suite)
    ElementTree.indent(suites)
    written: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _text(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold, however they are escaped."""
    return "".join(char if _allowed(ord(char)) else "\ufffd" for char in text)


def _allowed(point: int) -> bool:
    return (
        point in (0x9, 0xA, 0xD) or 0x20 <= point <= 0xD7FF or 0xE000 <= point <= 0xFFFD or point >= 0x10000
    )
