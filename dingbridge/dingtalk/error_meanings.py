"""The table of DingTalk's error codes: which exception each one is, what it means, and what to do next.

Source: server-api-error-codes-1 and call-frequency-limit on open.dingtalk.com; 853005, which is not there,
from opendingtalk/eapp-isv-quick-start-java#7. How a reply is looked up here is ``error_codes``'s business.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from dingbridge.dingtalk.errors import (
    AcceptancePending,
    AlreadyExists,
    ApiError,
    BadRequest,
    CallbackExists,
    CallbackMissing,
    CallbackRefused,
    DepartmentNotEmpty,
    IpNotAllowed,
    NotFound,
    PermissionDenied,
    QuotaSpent,
    RateLimited,
    ReferenceMissing,
    TokenInvalid,
    Unavailable,
)


class Meaning(NamedTuple):
    """What an error code means: the exception, what happened, what the operator does next."""

    error: type[ApiError]
    words: str
    next_step: str


def _each(error: type[ApiError], next_step: str, words: Mapping[int, str]) -> dict[int, Meaning]:
    return {errcode: Meaning(error, text, next_step) for errcode, text in words.items()}


SYSTEM_BUSY: Final = -1
AUTHENTICATION: Final = 88
"""Says nothing by itself: the code that counts is its ``sub_code``."""
PLATFORM: Final = 15
"""What every ``sub_code`` that begins with ``isp.`` means: the platform did not reach its own service."""

_RETRY_LATER = "It passes by itself; try again later"
_FETCHED_ANEW = "A new access token is fetched; if this stays, compare DINGTALK_APP_KEY with the app's page"
_APP_KEYS = (
    "Compare DINGTALK_APP_KEY and DINGTALK_APP_SECRET with Client ID and Client Secret on the app's page"
)
_PERMISSION = "Open the app's permission page on open-dev.dingtalk.com and request the permission it names"
_SCOPE = "Widen the app's contact scope on its permission page, or leave this one out"
SLOW_DOWN = "Calls are slowed down; if this stays, fewer programs should share this app"
_SAME_CREDENTIALS = (
    "The running ingress must have the same DINGTALK_TOKEN and DINGTALK_AES_KEY, and DINGTALK_OWNER_KEY must "
    "name the owner; its log says which of them differs"
)
_EXISTS = (
    "Look at it with `dingbridge callback show`; `dingbridge callback update --url …`, or "
    "`dingbridge callback register --replace`, puts the new one in its place"
)
_MISSING = "Register one with `dingbridge callback register --url …`"

MEANINGS: Final[dict[int, Meaning]] = {
    SYSTEM_BUSY: Meaning(Unavailable, "the platform is busy", _RETRY_LATER),
    15: Meaning(Unavailable, "the platform did not reach its own service in time", _RETRY_LATER),
    AUTHENTICATION: Meaning(PermissionDenied, "the platform refuses the app", _PERMISSION),
    33012: Meaning(NotFound, "no such userid", "The user has left, or never was in this company"),
    40001: Meaning(TokenInvalid, "the access token or the app secret is wrong", _APP_KEYS),
    40014: Meaning(TokenInvalid, "the access token is not valid", _FETCHED_ANEW),
    40035: Meaning(BadRequest, "a parameter is wrong", "Nothing to wait for: the call itself must change"),
    40089: Meaning(TokenInvalid, "the app key or the app secret is wrong", _APP_KEYS),
    41001: Meaning(TokenInvalid, "the access token is missing", _FETCHED_ANEW),
    42001: Meaning(TokenInvalid, "the access token has expired", _FETCHED_ANEW),
    43007: Meaning(PermissionDenied, "the company has not authorised this", _PERMISSION),
    50002: Meaning(PermissionDenied, "the user is outside the app's contact scope", _SCOPE),
    50004: Meaning(PermissionDenied, "the department is outside the app's contact scope", _SCOPE),
    60003: Meaning(NotFound, "no such department", "It has been deleted, or never was in this company"),
    60011: Meaning(PermissionDenied, "the app lacks the permission for this call", _PERMISSION),
    60019: Meaning(BadRequest, "a department id is wrong", "Nothing to wait for: the call must change"),
    60020: Meaning(
        IpNotAllowed,
        "the address that this machine calls from is not on the app's list of allowed addresses",
        "Add the outgoing address to the app's server egress IP list (开发配置 → 服务器出口IP)",
    ),
    60121: Meaning(NotFound, "no such user", "The user has left, or never was in this company"),
    71006: Meaning(CallbackExists, "a callback is registered already", _EXISTS),
    71007: Meaning(CallbackMissing, "no callback is registered", _MISSING),
    71008: Meaning(
        BadRequest,
        "an event type is not one that can be registered",
        "Leave out what DingTalk does not offer: choose with --events",
    ),
    71009: Meaning(
        CallbackRefused, "the URL answered, but not with the encrypted `success`", _SAME_CREDENTIALS
    ),
    71010: Meaning(
        CallbackRefused,
        "a parameter of the callback is missing or malformed",
        "DINGTALK_AES_KEY must have 43 characters of A-Z a-z 0-9, DINGTALK_TOKEN 6 to 63",
    ),
    71011: Meaning(
        CallbackRefused,
        "the URL is not one that DingTalk accepts",
        "Give a public http(s) URL with host and path, as https://bridge.example.com/callback",
    ),
    71012: Meaning(
        CallbackRefused,
        "DingTalk could not use the URL: not reachable, too slow, redirected, or another status than 200",
        "Start the ingress first; the URL must be reachable from the internet, answer within 1.5 s and not "
        "redirect. A 403 here: " + _SAME_CREDENTIALS[0].lower() + _SAME_CREDENTIALS[1:],
    ),
    71013: Meaning(
        CallbackRefused,
        "the URL's domain or address is not allowed",
        "Use a domain that the company's settings on open-dev.dingtalk.com allow",
    ),
    90002: Meaning(RateLimited, "everybody together calls this API too often", SLOW_DOWN),
    90018: Meaning(RateLimited, "the app calls this API too often (20 a second)", SLOW_DOWN),
    90020: Meaning(
        QuotaSpent,
        "the company's API calls of this month are used up",
        "They come back on the first of the month; a larger plan brings more",
    ),
    400002: Meaning(BadRequest, "a parameter is wrong", "Nothing to wait for: the call itself must change"),
    400040: Meaning(CallbackMissing, "no callback is registered", _MISSING),
    400041: Meaning(CallbackExists, "a callback is registered already", _EXISTS),
    853005: Meaning(
        TokenInvalid,
        "the suite's ticket is not valid",
        "DingTalk pushes a new one about every 5 h; see that its pushes reach the ingress, and that this is "
        "the suite whose app_key stands with them",
    ),
    # What a write of contacts, approvals or to-dos meets
    40103: Meaning(
        AcceptancePending,
        "the person has account protection, and was sent an invitation",
        "They accept it in the DingTalk client; until then they do not belong to the company",
    ),
    **_each(
        AlreadyExists,
        "Find who has it in the DingTalk console; two records of the sender's may mean the same one",
        {
            40100: "somebody has this telephone number",
            40101: "somebody has this e-mail address",
            60008: "the parent has a department of this name",
            60016: "there is a department of this id",
            60021: "the parent has a department of this name",
            60102: "somebody has this userid",
            60104: "somebody has this mobile number",
            60106: "somebody has this e-mail address",
            60107: "somebody in the company logs in with this mobile number",
        },
    ),
    **_each(
        NotFound,
        "It has been removed, or never was in this company",
        {40009: "no such department", 60111: "no such userid"},
    ),
    **_each(
        ReferenceMissing,
        "Send the department or the person that is referred to first, or correct the reference",
        {
            40010: "no such parent department",
            40031: "a userid in a list is unknown",
            60004: "no such parent department",
            60067: "the owner of the department's group is no member of it",
            60068: "a manager of the department is no member of it",
            60128: "no such manager",
        },
    ),
    **_each(
        DepartmentNotEmpty,
        "Move or remove its people and its departments first",
        {60005: "the department still has members", 60006: "the department still has departments"},
    ),
    **_each(
        BadRequest,
        "Correct the value and send it again",
        {
            40011: "the order is no valid one",
            40025: "the list of departments is no valid one",
            40063: "the telephone is no valid one",
            40064: "the work place is too long",
            40065: "the remark is too long",
            40066: "the list of departments is no valid one",
            40104: "the mobile number is no valid one",
            60001: "the department's name is no valid one",
            60009: "the department's name has characters that it must not have",
            60022: "the department's name has a word that DingTalk does not allow",
            60103: "the mobile number is no valid one",
            60105: "the e-mail address is no valid one",
            60112: "the name is no valid one",
            60113: "there is neither a mobile number nor an e-mail address",
            60119: "the title is no valid one",
            60122: "an extension field is none of the console's custom fields, or its value no valid one",
            60123: "the job number is no valid one",
        },
    ),
    **_each(
        BadRequest,
        "Change the structure that is asked for: it is one that DingTalk does not have",
        {
            60002: "the departments would be nested too deep",
            60007: "the company itself cannot be removed",
            60010: "a department would be below itself",
            60018: "the company itself cannot be moved",
        },
    ),
    **_each(
        BadRequest,
        "Make room in the DingTalk console, or ask DingTalk for a larger plan",
        {
            40019: "the person is in five companies that are not certified",
            40020: "the company has as many people as it may have",
            40023: "the department has as many people as it may have",
            40024: "the company has as many people as it may have",
            60110: "the company has as many departments as it may have",
        },
    ),
    **_each(
        BadRequest,
        "The person, or an administrator in the DingTalk console, must change this",
        {
            40021: "the new mobile number is registered by somebody else",
            40022: "the mobile number is the one that the person logs in with",
            60120: "the person's account is disabled",
        },
    ),
}

NAMED: Final[dict[str, int]] = {
    "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi": 90018,
    "Forbidden.AccessDenied.QpsLimitForApi": 90002,
    "Forbidden.AccessDenied.ApiCountLimitForOrg": 90020,
    "Forbidden.AccessDenied.IpNotInWhiteList": 60020,
    "Forbidden.AccessDenied.AccessTokenPermissionDenied": 60011,
    "InvalidAuthentication": 40014,
    "invalidClientIdOrSecret": 40089,
    "authFailed": 40089,
    "invalidParameter": 400002,
    "processInstanceIdError": 400002,
    "processInstanceNotExist": 400002,
    "flowControlError": 90018,
    "autoflowLikeTriggerRateLimited": 90018,
    "aflowProcessInstNotExist": 33012,
    "userNotExist": 33012,
}
"""The new API's names for the same faults."""

_TEMPLATE: Final = "Compare the request with the template in the DingTalk console"
_STATE: Final = "Look at the approval in DingTalk: it may have ended, or have begun less than 15 s ago"
NEW_MEANINGS: Final[dict[str, Meaning]] = {
    "processInstanceInvalidParameter": Meaning(BadRequest, "a value is wrong", _TEMPLATE),
    "processInstanceStartFailed": Meaning(BadRequest, "the approval cannot be started", _TEMPLATE),
    "processCodeError": Meaning(BadRequest, "the processCode is wrong", _TEMPLATE),
    "processGetFailed": Meaning(BadRequest, "the template cannot be read", _TEMPLATE),
    "formConverterError": Meaning(BadRequest, "the form does not fit the template", _TEMPLATE),
    "illegalComponent": Meaning(BadRequest, "the form has a field that cannot be filled in", _TEMPLATE),
    "targetSelectApproverMissing": Meaning(BadRequest, "the template asks for approvers", _TEMPLATE),
    "targetSelectApproverScopeError": Meaning(BadRequest, "an approver is not allowed", _TEMPLATE),
    "needAuth": Meaning(PermissionDenied, "the app may not use this template", _PERMISSION),
    "aflowProcessInstStatusException": Meaning(BadRequest, "the approval's state forbids it", _STATE),
    "aflowProcessInstCanNotBeExecuted": Meaning(BadRequest, "the approval's state forbids it", _STATE),
    "todo.taskCreate.lockError": Meaning(Unavailable, "the same to-do is being created", _RETRY_LATER),
}
"""What only the new API has (create-an-approval-instance, revoke-an-approval-instance,
approve-or-reject-the-approval-task, add-dingtalk-to-do-task)."""
