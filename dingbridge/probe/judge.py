"""Makes a finding of each difference between the replies and what client and consumers rely on. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from dingbridge.dingtalk.api.shapes import SHAPES
from dingbridge.dingtalk.error_codes import listed
from dingbridge.dingtalk.errors import ApiError, BadRequest, BudgetSpent, NoAddress
from dingbridge.dingtalk.replies import integer
from dingbridge.doctor.checks import platform
from dingbridge.doctor.findings import Both, Finding, Level, Words, found
from dingbridge.probe.compare import Difference, differences
from dingbridge.probe.lag import Watched, distribution
from dingbridge.probe.names import shown_code, shown_path
from dingbridge.probe.run import Reading, details
from dingbridge.probe.times import FORM, Clocks, clocks_of

EXIT_CLEAN, EXIT_DIFFERENT, EXIT_SETTINGS = 0, 1, 2
_CODES: Final = {
    "type": "shape.type",
    "loose": "shape.loose",
    "value": "shape.value",
    "missing": "shape.missing",
}
_MORE: Final = ("has_more", "hasMore")


def judge(readings: Sequence[Reading]) -> list[Finding]:
    """All findings of the reads; one for everything as expected comes first."""
    findings = [*_refusals(readings), *_shapes(readings), *_ids(readings), *judge_clocks(clocks(readings))]
    well = [r.api for r in readings if r.error is None and not r.missing and r.fault is None]
    touched = {finding.values.get("api") for finding in findings}
    well = [api for api in dict.fromkeys(well) if api not in touched]
    unread = [api for api in dict.fromkeys(r.api for r in readings if r.missing)]
    findings = [*([found("read.ok", count=len(well), apis=well)] if well else []), *findings]
    return [*findings, *([found("read.nothing", apis=unread)] if unread else [])]


def exit_code(findings: Iterable[Finding], words: Mapping[str, Words]) -> int:
    """0: as expected; 1: a warning or an error."""
    bad = (Level.WARNING, Level.ERROR)
    return EXIT_DIFFERENT if any(f.level(words) in bad for f in findings) else EXIT_CLEAN


def _refusals(readings: Sequence[Reading]) -> list[Finding]:
    findings: dict[tuple[Any, ...], Finding] = {}
    rights: dict[str, list[Reading]] = {}
    for reading in readings:
        error = reading.error
        if error is not None and error.about == "right" and error.permission:
            rights.setdefault(error.permission, []).append(reading)
        elif error is not None and not isinstance(error, NoAddress):  # a file of 0 bytes has none
            findings.setdefault((reading.api, error.code, type(error)), _refusal(error, reading))
        if reading.fault is not None:
            values = {"api": reading.api, "parts": list(reading.parts), "fault": reading.fault}
            findings.setdefault((reading.api, reading.fault), found("read.fault", **values))
    return [*(_without(same) for same in rights.values()), *findings.values()]


def _without(same: Sequence[Reading]) -> Finding:
    """One finding for a permission that is missing, whatever calls need it."""
    apis = dict.fromkeys(reading.api for reading in same)
    parts = dict.fromkeys(part for reading in same for part in reading.parts)
    [error, *_] = [reading.error for reading in same if reading.error is not None]
    return platform.of_error(error, ", ".join(apis), list(parts))


def _refusal(error: ApiError, reading: Reading) -> Finding:
    values = {"api": reading.api, "parts": list(reading.parts), "refused": refused(error)}
    if isinstance(error, BudgetSpent):
        return found("read.budget", api=reading.api, said=str(error))
    if isinstance(error, BadRequest) and error.code is not None and listed(error.code) is None:
        return found("refusal.unknown", **values)
    if error.about == "entity":
        return found("refusal.entity", **values)
    return platform.of_error(error, reading.api, reading.parts)


def refused(error: ApiError) -> str:
    """The code of a refusal, and none of its words."""
    return str(shown_code(error.code) or "no code")


def found_in(readings: Sequence[Reading]) -> Iterator[tuple[str, Reading, Difference]]:
    """Each difference of a success from the table, once for each API, whose name comes first: of one reading
    there may be a new token's reply as well."""
    seen = set()
    for reading in readings:
        for reply in reading.replies:
            if not reply.succeeded or reply.api not in SHAPES:
                continue
            for difference in differences(SHAPES[reply.api].fields, reply.body):
                if (reply.api, difference) not in seen:
                    seen.add((reply.api, difference))
                    yield reply.api, reading, difference


def _shapes(readings: Sequence[Reading]) -> Iterator[Finding]:
    unknown: dict[str, list[str]] = {}
    for api, reading, difference in found_in(readings):
        kind, path, declared, seen = difference
        if kind == "unknown":
            unknown.setdefault(api, []).append(path)
            continue
        values = {"api": api, "parts": list(reading.parts), "field": path, "page": SHAPES[api].page}
        if kind == "missing" and path.rpartition(".")[2] in _MORE:
            yield found("listing.more", **values)
        else:
            yield found(_CODES[kind], **values, declared=declared, seen=seen)
    for api, paths in unknown.items():
        yield found("shape.unknown", api=api, fields=sorted(set(paths)))


def _ids(readings: Sequence[Reading]) -> Iterator[Finding]:
    """Departments of an id below 1, which family-school contacts have (github ohdarling/virtual-ldap #19)."""
    for reading in readings:
        for reply in reading.replies:
            listed = reply.body.get("result") if reply.succeeded else None
            if reply.api != "v2/department/listsub" or not isinstance(listed, list):
                continue
            ids = [integer(item.get("dept_id")) for item in listed if isinstance(item, dict)]
            strange = [one for one in ids if one is not None and one < 1]
            if strange:
                yield found("department.id", api=reply.api, count=len(strange))


def clocks(readings: Sequence[Reading]) -> list[Clocks]:
    """Of each approval that was read."""
    return [clocks_of(instance_id, detail) for instance_id, detail in details(readings)]


def judge_clocks(seen: Sequence[Clocks]) -> list[Finding]:
    """Form and zone of v1.0's times."""
    findings = []
    if forms := sorted({one.form for one in seen if one.form != FORM}):
        findings.append(found("time.form", forms=forms, expected=FORM))
    zones = [one.zone for one in seen]
    if true := zones.count("true"):
        findings.append(found("time.z_true", count=true, of=len(zones)))
    if any(one.id_agrees is False for one in seen):
        findings.append(found("time.id", count=sum(one.id_agrees is False for one in seen)))
    if unclear := zones.count("unclear"):
        findings.append(found("time.unclear", count=unclear, of=len(zones)))
    if zones.count("false") == len(zones) and zones:
        findings.append(found("time.ok", count=len(zones)))
    return findings


def judge_watched(seen: Watched) -> list[Finding]:
    """How late reads were, and whether events were as the catalogue has them."""
    findings = []
    for event_type, drift in sorted(seen.drift.items()):
        for kind, code in (
            ("missing", "event.missing"),
            ("type", "event.type"),
            ("unknown_field", "event.unknown"),
        ):
            fields = sorted({shown_path(one.field) for one in drift if one.kind == kind})
            if fields:
                findings.append(found(code, event_type=event_type, fields=fields))
    if not seen.lags:
        return [*findings, found("lag.none", events=sum(seen.events.values()))]
    for row in distribution(seen.lags):
        values = {"kind": _KINDS[row["kind"]], "wanted": _WANTED[row["wanted"]], "of": row["entities"]}
        late = {step: count for step, count in row["agreed_at_s"].items() if step != "0"}
        if late:
            findings.append(
                found("lag.late", **values, count=sum(late.values()), steps=[f"{step} s" for step in late])
            )
        if row["never"]:
            findings.append(found("lag.never", **values, count=row["never"]))
        if row["refused"]:
            findings.append(found("lag.refused", **values, count=row["refused"]))
    if not any(finding.code.startswith("lag.") for finding in findings):
        findings.append(found("lag.ok", of=len(seen.lags)))
    if seen.left_out:
        findings.append(found("lag.left_out", count=seen.left_out))
    return findings


_KINDS: Final = {
    "user": Both("people", "人员"),
    "department": Both("departments", "部门"),
    "approval": Both("approvals", "审批实例"),
}
_WANTED: Final = {
    "there": Both("added", "新增"),
    "gone": Both("removed", "移除"),
    "ended": Both("ended", "结束"),
    "same": Both("changed", "变更"),
}
