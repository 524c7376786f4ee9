"""Every error of DingTalk's side, and what each one asks of the caller.

::

    BridgeError
    └── DingTalkError
        ├── CredentialsError        token, AES key or owner keys that cannot work; lists every mistake
        ├── CallbackError           a callback that is not acceptable; ``reason`` names the class of fault
        │   ├── ParametersError     signature, timestamp or nonce absent from the query, or contradictory
        │   ├── SignatureMismatch   signed with no token of ours
        │   ├── CiphertextError     signed with a token of ours, yet no message of the agreed layout
        │   └── OwnerMismatch       for another app, company or suite; ``owner_seen`` says which
        └── ApiError                the Open API did not do as asked                        about
            ├── NotFound            no such user, department or object (any more)           entity
            ├── TokenInvalid        access token, app key or app secret refused             token
            ├── PermissionDenied    the app may not do this, or not see this one            right or entity
            │   └── IpNotAllowed    calls from this address are refused altogether          address
            ├── RateLimited         too many calls just now; ``retry_after_s``              api
            ├── QuotaSpent          the month's calls are used up, by DingTalk's answer     month
            ├── BudgetSpent         the month's calls are used up, by our own count         month
            ├── Unavailable         no usable answer: network, 5xx, busy                    busy, or address
            │   └── OutcomeUnknown  the same of a write: it may have been carried out       as above, token
            ├── AlreadyExists       a write would give an id, number, address or name twice
            ├── AcceptancePending   the person was invited, and must accept in the DingTalk client
            ├── CallbackExists      register_call_back, but one is registered
            ├── CallbackMissing     no callback is registered
            ├── CallbackRefused     DingTalk's check of the callback URL failed
            └── BadRequest          anything else: the call itself is at fault
                ├── InvalidField    a field that DingTalk would not take; ``field`` names it; nothing was sent
                ├── WrongParameter  the old API's word for any parameter, also for an id that there is not
                ├── NoAddress       a file of 0 bytes, which DingTalk gives no address for
                ├── ReferenceMissing  a department or person that the call refers to does not exist
                └── DepartmentNotEmpty  a department that still has members or departments

Where no ``about`` stands beside a class, it is ``entity``. All but ``entity`` and ``right`` are
``unavailable``.

A write (``once``) ends in one of three ways. ``OutcomeUnknown``: read before you repeat it. Certainly not
carried out: every other error; of these, ``Unavailable`` with ``unsent``, ``InvalidField`` and
``BudgetSpent`` were not even sent. Carried out: it returns. A write that is cancelled is unknown, too.

No message holds plaintext, a token, a key or a secret. The texts of ``ApiError`` are made from the table
in ``dingbridge/dingtalk/error_meanings.py``.
"""

from typing import ClassVar, Final, Literal, get_args

from dingbridge.errors import BridgeError

CallbackFault = Literal["parameters", "signature", "base64", "block", "padding", "length", "owner"]
"""Why a callback is refused, for logs and as a metric label (a closed set)."""

CALLBACK_FAULTS: tuple[str, ...] = get_args(CallbackFault)


About = Literal["entity", "api", "right", "address", "month", "token", "busy"]
"""What a refusal is about, and so what else would be refused: ``entity``, this user, department, approval,
template or file, or this very request; ``api``, this API just now (its rate); ``right``, the app's right to
this API, for every entity; ``address``, everything that this address sends; ``month``, every call that the
month's quota counts; ``token``, everything of this access token, app key or secret; ``busy``, the platform's
own trouble."""

_PAUSES: Final[frozenset[About]] = frozenset({"api", "address", "month", "token", "busy"})


class DingTalkError(BridgeError):
    """Root of the errors of this package."""


class CredentialsError(DingTalkError):
    """Callback credentials that cannot work. ``problems`` holds one line for each mistake."""

    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("callback credentials: " + "; ".join(problems))


class CallbackError(DingTalkError):
    """A callback that is not acceptable. ``reason`` is one of ``CALLBACK_FAULTS``."""

    reason: CallbackFault

    def __init__(self, reason: CallbackFault, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class ParametersError(CallbackError):
    """Signature, timestamp or nonce is not in the query, or its two spellings contradict each other."""

    def __init__(self, message: str) -> None:
        super().__init__("parameters", message)


class SignatureMismatch(CallbackError):
    """The signature fits no configured token."""

    def __init__(self, tokens: int) -> None:
        super().__init__(
            "signature",
            f"the signature fits none of the {tokens} configured token(s): the sender is not DingTalk, or "
            "DINGTALK_TOKEN differs from the Token of the event subscription",
        )


class CiphertextError(CallbackError):
    """Correctly signed, but not an encrypted message of the agreed layout."""


class OwnerMismatch(CallbackError):
    """The message is for another owner than those configured.

    ``owner_seen`` is the owner key inside the message: an appKey, corpId or suiteKey, or a description in
    parentheses if it has not the form of such an id (it might then be part of the message).
    """

    def __init__(self, owner_seen: str, expected: tuple[str, ...]) -> None:
        self.owner_seen = owner_seen
        super().__init__(
            "owner",
            f"the message is for the owner {owner_seen}, configured: {', '.join(expected)}. "
            "If that is your app's appKey (Client ID), corpId or suiteKey, add it to DINGTALK_OWNER_KEY",
        )


class ApiError(DingTalkError):
    """The Open API did not do as asked.

    ``api`` is the call's name (``v2/user/get``), ``errcode`` DingTalk's number (``None`` when the answer had
    none), ``errmsg`` DingTalk's own words without any secret of ours, ``sub_code`` the finer code of
    errcode 88, ``name`` the new API's name of the fault (``invalidParameter``; ``None`` of the old API).
    ``code`` is the most exact of these, as text. ``about`` is what was refused: one entity, or
    more. ``permission`` is what to tick on the app's permission page, as far as that helps and is known.
    ``retry_after_s`` is how long to wait at least (seconds; ``None``: unknown).

    ``unavailable`` is true when the same call would fail for every event: wait, do not give the event up.
    """

    default_about: ClassVar[About] = "entity"

    def __init__(
        self,
        message: str,
        *,
        api: str,
        errcode: int | None = None,
        errmsg: str = "",
        sub_code: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
        name: str | None = None,
        about: About | None = None,
        permission: str | None = None,
    ) -> None:
        self.api = api
        self.errcode = errcode
        self.errmsg = errmsg
        self.sub_code = sub_code
        self.code = code or name or (None if errcode is None else str(errcode))
        self.retry_after_s = retry_after_s
        self.name = name
        self.about = about or self.default_about
        self.permission = permission
        super().__init__(message)

    @property
    def unavailable(self) -> bool:
        return self.about in _PAUSES


class NotFound(ApiError):
    """The user, department or object does not exist (any more)."""


class TokenInvalid(ApiError):
    """The access token, the app key or the app secret is refused."""

    default_about = "token"


class PermissionDenied(ApiError):
    """The app may not call this API (``about`` is ``right``), or may not see this one user, department or
    template (``entity``). A right that is missing is not ``unavailable``: other APIs go on. Its
    ``retry_after_s`` is long."""

    default_about: ClassVar[About] = "right"


class IpNotAllowed(PermissionDenied):
    """Every call from this machine's address is refused."""

    default_about = "address"


class RateLimited(ApiError):
    """Too many calls just now; ``retry_after_s`` says when to try again."""

    default_about = "api"


class QuotaSpent(ApiError):
    """The month's calls are used up."""

    default_about = "month"


class BudgetSpent(ApiError):
    """Our own budget of the month's calls (``API_MONTHLY_BUDGET``) has none left for what the call serves;
    ``retry_after_s`` is the time until DingTalk's next month. Nothing was sent."""

    default_about = "month"


class Unavailable(ApiError):
    """No usable answer: network, 5xx, system busy, or a ban of our address. ``unsent``: there was no
    connection, so the call has certainly done nothing."""

    default_about = "busy"
    unsent = False


class OutcomeUnknown(Unavailable):
    """A write without a usable answer: whether it was carried out is not known. Read before you repeat it."""


class AlreadyExists(ApiError):
    """A write would give an id, number, address or name twice; ``code`` says which. It was not carried
    out."""


class AcceptancePending(ApiError):
    """The person has account protection: DingTalk sent an invitation, and they join by accepting it (40103).
    No failure, and nothing to repeat."""


class CallbackExists(ApiError):
    """A callback is registered already."""


class CallbackMissing(ApiError):
    """No callback is registered."""


class CallbackRefused(ApiError):
    """DingTalk checked the callback URL, and did not like what it found."""


class BadRequest(ApiError):
    """The call itself is at fault; repeating it changes nothing."""


class InvalidField(BadRequest):
    """A field is of a form that DingTalk does not take. Nothing was sent."""

    def __init__(self, api: str, field: str, fault: str) -> None:
        self.field = field
        super().__init__(
            f"DingTalk {api}: not called, {field} {fault}. Correct it and send it again.", api=api
        )


class WrongParameter(BadRequest):
    """The old API calls a parameter wrong. If a call has only an id or a name, that does not exist."""


class NoAddress(BadRequest):
    """The call succeeded, and the file has no address: it is one of 0 bytes
    (download-an-approval-attachment). There is nothing to fetch."""


class ReferenceMissing(BadRequest):
    """A department or person that the call refers to does not exist, or is not where it must be, yet. Of an
    approval's file it is the originator, who has left: the approval and the file are there."""


class DepartmentNotEmpty(BadRequest):
    """The department still has members or departments, so it cannot be deleted."""
