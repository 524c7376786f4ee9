"""The table of DingTalk's refusals: for each code its exception, what it is about, words and a next step.

A code is an errcode, a ``sub_code`` of errcode 88, or a name of the new API. Client, worker, doctor and
consumers distinguish refusals by this table alone, by the exception and its ``about``. ``error_codes`` looks
a reply up here.

Sources: server-api-error-codes-1, call-frequency-limit, how-to-process-api-throttling-on-the-dingtalk-server
and the pages of the single calls on open.dingtalk.com. Not from there: 90019
(an older official text), 88 without a ``sub_code`` and ``AuthenticationFailed.MissingParameter`` (public
clients).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from dingbridge.dingtalk.errors import (
    About,
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
    WrongParameter,
)
from dingbridge.dingtalk.permissions import to_tick


class Refusal(NamedTuple):
    """What a code means: the exception, what it is about, what happened, what the operator does next."""

    error: type[ApiError]
    about: About
    words: str
    next_step: str


def _each(
    error: type[ApiError], next_step: str, words: Mapping[str, str], *, about: About | None = None
) -> dict[str, Refusal]:
    """Rows of one kind. A key of ``words`` holds all the codes that mean the same; ``about`` is that of the
    exception unless given."""
    about = about or error.default_about
    return {
        code: Refusal(error, about, text, next_step)
        for codes, text in words.items()
        for code in codes.split()
    }


SYSTEM_BUSY: Final = -1
AUTHENTICATION: Final = 88
"""Says nothing by itself: the code that counts is its ``sub_code``."""

PERMISSION: Final = to_tick(None)
SLOW_DOWN: Final = "Calls are slowed down; if this stays, fewer programs should share this app"
_RETRY_LATER: Final = "It passes by itself; try again later"
_FETCHED_ANEW: Final = (
    "A new access token is fetched; if this stays, compare DINGTALK_APP_KEY with the app's page"
)
_APP_KEYS: Final = (
    "Compare DINGTALK_APP_KEY and DINGTALK_APP_SECRET with Client ID and Client Secret on the app's page"
)
_SCOPE: Final = "Widen the app's contact scope on its permission page, or leave this one out"
_SAME_CREDENTIALS: Final = (
    "The running ingress must have the same DINGTALK_TOKEN and DINGTALK_AES_KEY, and DINGTALK_OWNER_KEY must "
    "name the owner; its log says which of them differs"
)
_EXISTS: Final = (
    "Look at it with `dingbridge callback show`; `dingbridge callback register --replace` puts the new one "
    "in its place"
)
_CALL: Final = "Nothing to wait for: the call itself must change"
_TEMPLATE: Final = "Compare the request with the template in the DingTalk console"
_NO_TEMPLATE: Final = (
    "Look in the DingTalk console whether the template is still there and enabled, and under which code"
)
_STATE: Final = "Look at the approval in DingTalk: it may have ended, or have begun less than 15 s ago"
_LEFT: Final = "It has been removed, or never was in this company"

_OF_MORE_THAN_ONE: Final = {
    **_each(
        Unavailable,
        _RETRY_LATER,
        {
            "-1 systemError system.error internalError": "the platform is busy",
            "15 isp": "the platform did not reach its own service in time",
            "hsfIntegrationErrorCspace": "the platform did not reach its own drive, where files are",
            "todo.taskCreate.lockError": "the same to-do is being created",
        },
    ),
    **_each(
        TokenInvalid,
        _FETCHED_ANEW,
        {
            "88": "the platform does not accept the access token, and does not say why",
            "33001 40014 InvalidAuthentication": "the access token is not valid",
            "41001 AuthenticationFailed.MissingParameter": "the access token is missing",
            "42001": "the access token has expired",
        },
    ),
    **_each(
        TokenInvalid,
        _APP_KEYS,
        {
            "40001": "the access token or the app secret is wrong",
            "40089 invalidClientIdOrSecret authFailed": "the app key or the app secret is wrong",
        },
    ),
    **_each(
        PermissionDenied,
        PERMISSION,
        {
            "60011 AccessTokenPermissionDenied permission.error": "the app lacks the permission for this",
            "43007": "the company has not authorised this",
        },
    ),
    **_each(
        PermissionDenied,
        "Buy or renew it, or do without this call",
        {"benefit.status.invalid": "the company has no OA premium edition, or it has run out"},
    ),
    **_each(
        IpNotAllowed,
        "Add the outgoing address to the app's server egress IP list (开发配置 → 服务器出口IP)",
        {"60020 IpNotInWhiteList": "this machine's address is not on the app's list of allowed addresses"},
    ),
    **_each(
        RateLimited,
        SLOW_DOWN,
        {
            "90002 QpsLimitForApi": "everybody together calls this API too often",
            "90018 QpsLimitForAppkeyAndApi": "the app calls this API too often (20 a second)",
            "90019 QpsLimitForSuitekeyAndOrgAndApi": "the suite calls this API too often for this company",
            "QpmLimitForAppkeyAndApi": "the app calls this API too often within a minute",
            "QpmLimitForSuitekeyAndOrgAndApi": "the suite calls this API too often within a minute",
            "oaplus.query.limit": "the company asks the OA premium edition too much at once",
            "flowControlError autoflowLikeTriggerRateLimited": "this API is called too often",
        },
    ),
    **_each(
        QuotaSpent,
        "They come back on the first of the month, in Shanghai; a larger plan brings more at once",
        {"90020 ApiCountLimitForOrg": "the month's calls, and up to 5 days of grace after them, are used up"},
    ),
}

_OF_ONE: Final = {
    **_each(
        PermissionDenied,
        _SCOPE,
        {
            "50002": "the user is outside the app's contact scope",
            "50004": "the department is outside the app's contact scope",
        },
        about="entity",
    ),
    **_each(
        PermissionDenied,
        "Look who may use and manage the template in the DingTalk console",
        {
            "needAuth": "the app may not use this template",
            "noPermission": "the app, or the person named, may not see this approval or template",
            "processSetupNoPermission": "the app may not see this approval's template",
        },
        about="entity",
    ),
    **_each(
        NotFound,
        "The user has left, or never was in this company",
        {"33012 60111": "no such userid", "60121": "no such user"},
    ),
    **_each(NotFound, _LEFT, {"60003 40009": "no such department"}),
    **_each(
        NotFound,
        "It has been deleted, or never was in this company",
        {
            "processInstanceNotExist processInstNotExist aflowProcessInstNotExist": "no such approval",
            "processInstanceIdError invalidProcessInstanceId": "no approval has this id",
            "invalidFileId": "the approval has no such file",
        },
    ),
    **_each(
        NotFound,
        _NO_TEMPLATE,
        {
            "processNotExist process.error formNotExist": "no such template",
            "aflowProcessCodeIsError": "the template is deleted, or cannot be read",
        },
    ),
    **_each(WrongParameter, _CALL, {"40035 400002": "a parameter is wrong"}),
    **_each(
        BadRequest,
        _CALL,
        {
            "invalidParameter": "a parameter is wrong",
            "60019": "a department id is wrong",
            "invalidInstanceListIdsStartTime": "the span's begin is wrong: at most 365 days back",
            "invalidEndTime timeStamp.invalid": "the span is wrong: begin before end, at most 120 days",
            "invalidNextToken": "the page asked for is wrong",
            "invalidMaxResults pageSize.invalid": "the page's size is wrong",
            "invalidUserId invalidUserIds": "a userid is wrong",
            "invalidAgentId invalidSuiteKey": "the app named in the call is wrong",
        },
    ),
    **_each(
        BadRequest,
        _NO_TEMPLATE,
        {
            "invalidProcessCode processCodeError processCode.error": "the processCode is wrong",
            "810008 830001": "the template is deleted, switched off, or not granted to the app",
            "processGetFailed processGetFailedByParameter": "the template cannot be read",
            "aflowProcessGetFailed": "the templates cannot be read",
        },
    ),
    **_each(
        BadRequest,
        "Open the approval in DingTalk; try again later",
        {"processFormDataIsNull": "the approval has no form data"},
    ),
    **_each(
        BadRequest,
        _TEMPLATE,
        {
            "processInstanceInvalidParameter": "a value is wrong",
            "processInstanceStartFailed": "the approval cannot be started",
            "formConverterError": "the form does not fit the template",
            "illegalComponent": "the form has a field that cannot be filled in",
            "targetSelectApproverMissing": "the template asks for approvers",
            "targetSelectApproverScopeError": "an approver is not allowed",
        },
    ),
    **_each(
        BadRequest,
        _STATE,
        {"aflowProcessInstStatusException aflowProcessInstCanNotBeExecuted": "its state forbids it"},
    ),
    **_each(CallbackExists, _EXISTS, {"71006 400041": "a callback is registered already"}),
    **_each(
        CallbackMissing,
        "Register one with `dingbridge callback register --url …`",
        {"71007 400040": "no callback is registered"},
    ),
    **_each(
        BadRequest,
        "Leave out what DingTalk does not offer: choose with --events",
        {"71008": "an event type is not one that can be registered"},
    ),
    **_each(
        CallbackRefused,
        _SAME_CREDENTIALS,
        {"71009": "the URL answered, but not with the encrypted `success`"},
    ),
    **_each(
        CallbackRefused,
        "DINGTALK_AES_KEY must have 43 characters of A-Z a-z 0-9, DINGTALK_TOKEN 6 to 63",
        {"71010": "a parameter of the callback is missing or malformed"},
    ),
    **_each(
        CallbackRefused,
        "Give a public http(s) URL with host and path, as https://bridge.example.com/callback",
        {"71011": "the URL is not one that DingTalk accepts"},
    ),
    **_each(
        CallbackRefused,
        "Start the ingress first; the URL must be reachable from the internet, answer within 1.5 s and not "
        "redirect. A 403 here: " + _SAME_CREDENTIALS[0].lower() + _SAME_CREDENTIALS[1:],
        {"71012": "DingTalk could not use the URL: not reachable, slow, redirected, or a status but 200"},
    ),
    **_each(
        CallbackRefused,
        "Use a domain that the company's settings on open-dev.dingtalk.com allow",
        {"71013": "the URL's domain or address is not allowed"},
    ),
    **_each(
        AcceptancePending,
        "They accept it in the DingTalk client; until then they do not belong to the company",
        {"40103": "the person has account protection, and was sent an invitation"},
    ),
    **_each(
        AlreadyExists,
        "Find who has it in the DingTalk console; two records of the sender's may mean the same one",
        {
            "40100": "somebody has this telephone number",
            "40101 60106": "somebody has this e-mail address",
            "60008 60021": "the parent has a department of this name",
            "60016": "there is a department of this id",
            "60102": "somebody has this userid",
            "60104": "somebody has this mobile number",
            "60107": "somebody in the company logs in with this mobile number",
        },
    ),
    **_each(
        ReferenceMissing,
        "Send the department or the person that is referred to first, or correct the reference",
        {
            "40010 60004": "no such parent department",
            "40031": "a userid in a list is unknown",
            "60067": "the owner of the department's group is no member of it",
            "60068": "a manager of the department is no member of it",
            "60128": "no such manager",
        },
    ),
    **_each(
        ReferenceMissing,
        "Of an approval's file it is the originator, who has left: only DingTalk's client still opens it",
        {"userNotExist": "a person that the call refers to is not in the company"},
    ),
    **_each(
        DepartmentNotEmpty,
        "Move or remove its people and its departments first",
        {"60005": "the department still has members", "60006": "the department still has departments"},
    ),
    **_each(
        BadRequest,
        "Correct the value and send it again",
        {
            "40011": "the order is no valid one",
            "40025 40066": "the list of departments is no valid one",
            "40063": "the telephone is no valid one",
            "40064": "the work place is too long",
            "40065": "the remark is too long",
            "40104 60103": "the mobile number is no valid one",
            "60001": "the department's name is no valid one",
            "60009": "the department's name has characters that it must not have",
            "60022": "the department's name has a word that DingTalk does not allow",
            "60105": "the e-mail address is no valid one",
            "60112": "the name is no valid one",
            "60113": "there is neither a mobile number nor an e-mail address",
            "60119": "the title is no valid one",
            "60122": "an extension field is none of the console's custom fields, or its value no valid one",
            "60123": "the job number is no valid one",
        },
    ),
    **_each(
        BadRequest,
        "Change the structure that is asked for: it is one that DingTalk does not have",
        {
            "60002": "the departments would be nested too deep",
            "60007": "the company itself cannot be removed",
            "60010": "a department would be below itself",
            "60018": "the company itself cannot be moved",
        },
    ),
    **_each(
        BadRequest,
        "Make room in the DingTalk console, or ask DingTalk for a larger plan",
        {
            "40019": "the person is in five companies that are not certified",
            "40020 40024": "the company has as many people as it may have",
            "40023": "the department has as many people as it may have",
            "60110": "the company has as many departments as it may have",
        },
    ),
    **_each(
        BadRequest,
        "The person, or an administrator in the DingTalk console, must change this",
        {
            "40021": "the new mobile number is registered by somebody else",
            "40022": "the mobile number is the one that the person logs in with",
            "60120": "the person's account is disabled",
        },
    ),
}

REFUSALS: Final[Mapping[str, Refusal]] = {**_OF_MORE_THAN_ONE, **_OF_ONE}
"""By code, as DingTalk's pages spell it, without ``Forbidden.AccessDenied.`` in front."""

BEGINNINGS: Final[Mapping[str, str]] = {
    "QpsLimit": "QpsLimitForAppkeyAndApi",
    "QpmLimit": "QpmLimitForAppkeyAndApi",
    "ApiCountLimit": "ApiCountLimitForOrg",
    "hsfIntegrationError": "hsfIntegrationErrorCspace",
}
"""Names that are not in the table, and begin like this, mean the same as this one."""
