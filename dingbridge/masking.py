"""Hides private values when a person looks at DingTalk's data, by an allow-list of names.

One rule for pages and commands: ids, types and times are shown, as they are in logs; all else is masked. A
name that is not listed is masked, so a field that DingTalk adds tomorrow is private until it is listed here.
For people who may see private values, all but ``SECRETS`` is *revealed*: those let their holder act for a
company, and nobody needs to see them.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

from dingbridge.events import strict_json

_TYPES = """
    action approvetype biztype bizcategoryid changetype contact_type datatype depttype dept_type errcode
    event_type eventtype eventsubtype objecttype processcode result status syncaction type
"""
_TIMES = """
    alarmtime changedtimestamp changetime closetime createtime endtime event_time eventtime finishtime
    finshtime gmtmodifiedtime instanceendtime operatetime operattime opttime starttime timestamp
"""
_IDS = """
    activityid adduseridlist agentid agentids aiassistantid appid approveopenid assistantid authcorpid bizid
    blackboardid businessid buycorpid buyerunionid buyuserid calendareventid calendarid categoryid chatid
    class_id classid columnid configid corpid courseid creatorunionid creatoruserid customercorpid dataid
    dentryid dept_id deptid deptids deviceid deviceunionid dingid entityid eventid executorid fileid
    finaluseridlist followeruserid fromuserid granttaskid groupid id instanceid jobid labelidlist labelids
    liveid maincorpid mainprocessinstanceid merchantid miniappid minutesid modifieruserid msgid
    openconversationcorpid openconversationid openid openroomid operatorunionid optstaffid opuserid orderid
    originversionid owneruserid payerstaffid planid processidlist processinstanceid purchaserid
    receiveruserid recordid removeuseridlist roleid roleids roomid senderuserid sessionid sharedeptids
    shareuserids singlechatotheruserid solutionid spaceid staffid staffids storeidlist suiteid suitekey
    targetversionid taskid teamid templateid touserid unionid unionidlist userid useridlist userids
"""
IDS: Final = frozenset(_IDS.split())
"""Names, in lower case, whose values are ids."""

SHOWN: Final = frozenset((_TYPES + _TIMES).split()) | IDS
"""Names, in lower case, whose values are ids, types or times."""

SHOWN_ATTRIBUTES: Final = frozenset(
    {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "form"}
    | {"partitionkey", "sequence", "journal", "receivedtime", "via"}
)
"""What an envelope of ours holds beside its data: ids, types and times."""


SECRETS: Final = frozenset({"suiteticket", "authcode", "tmpauthcode", "permanentcode", "sessionwebhook"})
"""Names, in lower case without ``_``, ``-`` and blanks, whose values nobody sees."""

MAX_DEPTH: Final = 200
"""Levels of nesting that are shown; events of ours have at most 100."""

_GRANTS = r"(?:suite[_ -]?ticket|auth[_ -]?code|permanent[_ -]?code|session[_ -]?webhook)"
_NAMED = re.compile(_GRANTS + '|data_base64|"answer"', re.IGNORECASE)
_END_OF_NAME = r"""(?:\\*["']|%22)?\s*(?:=>|[:=>]|%3[ad])\s*(?:<!\[CDATA\[)?"""
_VALUE = "|".join(
    (
        r"""\\*"(?:\\+[^"\\]|[^"\\])*""",
        r"""\\*'(?:\\+[^'\\]|[^'\\])*""",
        r"""[\[{][\s\S]*""",  # where that ends is not known: the text is no JSON
        r"""[^\s"',}\]&\\<]+""",
    )
)
_NAMED_VALUE = re.compile(f"({_GRANTS}{_END_OF_NAME})(?:{_VALUE})", re.IGNORECASE)
_IN_BASE64: Final = ("data_base64", "answer")
"""Names whose values may be texts in base64: of an envelope, and of a delivery's record."""
_ESCAPED_LETTER = re.compile(r"\\u00(5f|[46][1-9a-f]|[57][0-9a])", re.IGNORECASE)


def mask(value: Any, key: str = "", depth: int = 0) -> Any:
    """``value`` (as from JSON) with every text and number masked whose ``key`` is not in ``SHOWN``."""
    if isinstance(value, Mapping | list) and depth >= MAX_DEPTH:
        return "*** (nested too deep to be shown)"
    if isinstance(value, Mapping):
        return {k: mask(v, k, depth + 1) for k, v in value.items()}
    if isinstance(value, list):
        return [mask(item, key, depth + 1) for item in value]
    # Invariant 10: a name that is not listed is masked
    if value is None or isinstance(value, bool) or key.lower() in SHOWN:
        return value
    return f"***({len(value)})" if isinstance(value, str) else "***"


def reveal(value: Any, key: str = "", depth: int = 0) -> Any:
    """``value`` (as from JSON) for somebody who may see private values: all but ``SECRETS``, also where a
    text holds them."""
    if value is not None and re.sub("[ _-]", "", key.lower()) in SECRETS:
        return f"***({len(value)})" if isinstance(value, str) else "***"
    if isinstance(value, Mapping | list) and depth >= MAX_DEPTH:
        return "*** (nested too deep to be shown)"
    if isinstance(value, Mapping):
        return {k: reveal(v, k, depth + 1) for k, v in value.items()}
    if isinstance(value, list):
        return [reveal(item, key, depth + 1) for item in value]
    if not isinstance(value, str):
        return value
    value = _within(value, depth + 1)
    return _within_base64(value, depth + 1) if key in _IN_BASE64 else value


def mask_event(envelope: Mapping[str, Any]) -> dict[str, Any]:
    """An envelope of ours with its data masked."""
    return {k: v if k in SHOWN_ATTRIBUTES else mask(v, k) for k, v in envelope.items()}


def reveal_bytes(raw: bytes) -> bytes:
    """``raw``, JSON or not, as it is but for the values of ``SECRETS``."""
    return _within(raw.decode("utf-8", "surrogateescape"), 0).encode("utf-8", "surrogateescape")


def shown_header(name: str, value: bytes, *, revealed: bool) -> str:
    """A header of a record. Ours hold ids and types; the others' contents are not known."""
    text = reveal_bytes(value).decode(errors="replace")
    ours = name == "content-type" or name.startswith("dingbridge-")
    return text if revealed or ours else f"***({len(text)})"


def shown_body(body: bytes, *, revealed: bool) -> str:
    """A callback as it came, for a person to read."""
    if revealed:
        return reveal_bytes(body).decode("utf-8", "backslashreplace")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return f"*** ({len(body)} bytes, no JSON)"
    # a name may hold half a surrogate pair, which no output takes
    return json.dumps(mask(value), ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace").decode()


def _within(text: str, depth: int) -> str:
    """``text`` without the secrets that it names, as JSON or in some other way."""
    plain = _ESCAPED_LETTER.sub(lambda found: chr(int(found[1], 16)), text) if r"\u00" in text else text
    if not _NAMED.search(plain):
        return text
    try:
        value = strict_json.loads(text.encode()) if depth < MAX_DEPTH else None
    except (strict_json.Unreadable, UnicodeEncodeError):
        value = None
    if isinstance(value, dict | list):
        shown = reveal(value, depth=depth)
        return text if shown == value else strict_json.dumps(shown).decode()
    hidden = _NAMED_VALUE.sub(r"\1***", plain)
    return text if hidden == plain else hidden


def _within_base64(text: str, depth: int) -> str:
    try:
        raw = b64decode(text, validate=True)
    except ValueError:
        return text
    shown = _within(raw.decode("utf-8", "surrogateescape"), depth).encode("utf-8", "surrogateescape")
    return text if shown == raw else b64encode(shown).decode()
