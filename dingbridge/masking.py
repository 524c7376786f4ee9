"""Hides private values when a person looks at what DingTalk said, by an allow-list of names.

One rule for ``journal show`` and ``dlq show``: ids, types and times are shown, as they are in logs; all else
is masked. A name that is not listed is masked, so a field that DingTalk adds tomorrow is private until
somebody lists it here. Temporary auth codes, tickets and webhooks are not listed.
"""

from collections.abc import Mapping
from typing import Any, Final

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
    | {"partitionkey", "sequence", "journal", "receivedtime", "via", "traceparent"}
)
"""What an envelope of ours holds beside its data: ids, types and times."""


def mask(value: Any, key: str = "") -> Any:
    """``value`` (as from JSON) with every text and number masked whose ``key`` is not in ``SHOWN``."""
    if isinstance(value, Mapping):
        return {k: mask(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [mask(item, key) for item in value]
    if value is None or isinstance(value, bool) or key.lower() in SHOWN:
        return value
    return f"***({len(value)})" if isinstance(value, str) else "***"


def mask_event(envelope: Mapping[str, Any]) -> dict[str, Any]:
    """An envelope of ours with its data masked."""
    return {k: v if k in SHOWN_ATTRIBUTES else mask(v, k) for k, v in envelope.items()}
