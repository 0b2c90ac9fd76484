"""Findings as text, plain data, SARIF and JUnit. Must not know files or objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

from emu.lint.catalogue import KINDS, SEVERITIES, Severity, severity
from emu.modelled import Finding
from emu.report import Report
from emu.version import VERSION

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'


def report(findings: Sequence[Finding]) -> Report:
    """One line a finding, as compilers write them, and how many there are."""
    counts = Counter(severity(each) for each in findings)
    rows = [
        {
            "id": each.id,
            "severity": severity(each),
            "sentence": each.what,
            "object": each.about,
            "file": each.file,
            "line": each.line or None,
        }
        for each in findings
    ]
    data = {"findings": rows, "counts": {word: counts[word] for word in SEVERITIES}}
    return Report(data, "\n".join([*map(_line, findings), _counted(counts)]))


def _line(finding: Finding) -> str:
    where = f"{finding.place}: " if finding.place else ""
    return f"{where}{severity(finding)}: {_sentence(finding)} [{finding.id}]"


def _sentence(finding: Finding) -> str:
    return f"{finding.about}: {finding.what}" if finding.about else finding.what


def _counted(counts: Counter[Severity]) -> str:
    found = [f"{counts[word]} {word}{'s' * (counts[word] != 1)}" for word in SEVERITIES if counts[word]]
    return ", ".join(found) or "no findings"


def sarif(findings: Sequence[Finding]) -> dict[str, Any]:
    """A log of SARIF 2.1.0 (OASIS) with one run; its rules are those that were met."""
    ids = [*dict.fromkeys(each.id for each in findings)]
    rules = [
        {
            "id": id,
            "shortDescription": {"text": KINDS[id].what},
            "defaultConfiguration": {"level": KINDS[id].severity},
        }
        for id in ids
    ]
    driver = {"name": "emu", "version": VERSION, "semanticVersion": VERSION, "rules": rules}
    results = [_result(each, ids.index(each.id)) for each in findings]
    return {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _result(finding: Finding, index: int) -> dict[str, Any]:
    location: dict[str, Any] = {}
    if finding.file:
        physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.file)}}
        if finding.line:
            physical["region"] = {"startLine": finding.line}
        location["physicalLocation"] = physical
    if finding.about:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.about}]
    return {
        "ruleId": finding.id,
        "ruleIndex": index,
        "level": severity(finding),
        "message": {"text": _sentence(finding)},
        **({"locations": [location]} if location else {}),
    }


def _uri(file: str) -> str:
    """A path as a URI reference: relative ones stay so, as code hosts want them."""
    path = PurePath(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def junit(findings: Sequence[Finding], files: Sequence[str]) -> str:
    """A test suite a file, a failed test case a finding that is an error, and one that passed where there is none. What is no
    error is text in `system-out`: CI systems fail on failures."""
    root = ET.Element("testsuites", name="emu lint")
    failed = 0
    for file in dict.fromkeys([*files, *(each.file for each in findings)]):
        own = [each for each in findings if each.file == file]
        if not own and file not in files:
            continue
        errors = [each for each in own if severity(each) == "error"]
        failed += len(errors)
        count = str(max(len(errors), 1))
        suite = ET.SubElement(root, "testsuite", name=_xml(file or "emu"), tests=count, failures=str(len(errors)))
        for each in errors:
            case = ET.SubElement(suite, "testcase", name=_xml(each.about or each.id), classname=each.id)
            wrong = ET.SubElement(case, "failure", type=each.id, message=_xml(each.what))
            wrong.text = _xml(_line(each))
        if not errors:
            ET.SubElement(suite, "testcase", name="no error", classname=_xml(file or "emu"))
        rest = [_line(each) for each in own if each not in errors]
        if rest:
            ET.SubElement(suite, "system-out").text = _xml("\n".join(rest))
    root.set("failures", str(failed))
    root.set("tests", str(sum(int(each.get("tests", "0")) for each in root)))
    ET.indent(root)
    return XML_HEAD + ET.tostring(root, encoding="unicode")


def _xml(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold."""
    return "".join(each if each in "\t\n\r" or each >= " " else "?" for each in text)
