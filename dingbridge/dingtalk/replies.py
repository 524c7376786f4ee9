"""Reading the Open API's replies: bytes in, values or exceptions out, no I/O.

Responsible for telling a success from an error and from a ban, and for types: the documents print numbers
and booleans as strings in places, so both are understood. What a code means is in ``error_meanings``, which
fields a reply holds in ``api.shapes``.
"""

import json
import re
from typing import Any, Final

from dingbridge.dingtalk.error_codes import error_for, error_named, is_listed
from dingbridge.dingtalk.errors import ApiError, BadRequest, RateLimited, Unavailable
from dingbridge.outgoing.proxy import TLS_PORT

BAN_S: Final = 300.0
"""How long DingTalk's firewall shuts an address out after 10,000 calls in 20 s (call-frequency-limit)."""

_WAIT_RE = re.compile(rb'"wait"\s*:\s*"?(\d{1,6})')
_INT_RE = re.compile(r"[+-]?[0-9]{1,19}")


def integer(value: object) -> int | None:
    """``value`` as an int if it is one or its decimal digits, else ``None``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, str) and _INT_RE.fullmatch(value) else None


def boolean(value: object) -> bool | None:
    """``value`` as a bool if it is one, or 0, 1, or one of the words true and false, else ``None``."""
    if isinstance(value, bool):
        return value
    return {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower())


def read(
    api: str, status: int, content: bytes, *, new_api: bool = False, secrets: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The JSON object of a successful reply. Raises ``ApiError`` for everything else.

    ``status`` is HTTP's, and all that the new API says of a success; the old one says ``errcode`` 0 as well.
    ``secrets`` are struck out of DingTalk's own words.
    """
    try:
        reply = json.loads(content)
    except (ValueError, RecursionError):
        reply = None
    if isinstance(reply, dict):
        errcode = integer(reply.get("errcode"))
        if errcode == 0 and status < 400:
            return reply
        if errcode:
            words = _said(reply.get("errmsg"), secrets)
            sub_message = _said(reply.get("sub_msg"), secrets)
            if sub_message not in words:  # errcode 88 has it in both
                words = f"{words}: {sub_message}"
            raise _old_style(api, status, errcode, words, reply.get("sub_code"))
        if isinstance(code := reply.get("code"), str) and code:
            raise _new_style(api, status, code, _said(reply.get("message"), secrets), _permissions(reply))
        if new_api and status < 300:
            return reply
    raise _unusable(api, status, content, reply)


def _said(value: object, secrets: tuple[str, ...]) -> str:
    text = value if isinstance(value, str) else ""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text


def _old_style(api: str, status: int, errcode: int, words: str, sub_code: Any) -> ApiError:
    if not is_listed(errcode, words, sub_code):
        trouble = _trouble(api, status, f"errcode {errcode}: {words}", errcode)
        if trouble is not None:
            return trouble
    return error_for(api, errcode, words, sub_code)


def _permissions(reply: dict[str, Any]) -> list[str]:
    """The permissions that a refusal names beside its text (add-api-permission)."""
    details = [value for name, value in reply.items() if name.lower() == "accessdenieddetail"]
    scopes = details[0].get("requiredScopes") if details and isinstance(details[0], dict) else None
    return [scope for scope in scopes if isinstance(scope, str)] if isinstance(scopes, list) else []


def _new_style(api: str, status: int, code: str, message: str, permissions: list[str]) -> ApiError:
    if (known := error_named(api, code, message, permissions)) is not None:
        return known
    said = f"{code[:80]}: {message[:200]}"
    return _trouble(api, status, said, name=code) or BadRequest(
        f"DingTalk {api}: refused ({said}). Look the code up on the page of this call.",
        api=api,
        errmsg=message,
        name=code,
    )


def _trouble(
    api: str, status: int, said: str = "", errcode: int | None = None, name: str | None = None
) -> ApiError | None:
    """The platform's own trouble, which passes, by ``status``.

    For an unknown code the status decides: "the call is at fault" would be final.
    """
    words = f" ({' '.join(said.split())[:300]})" if said else ""
    if status == 429:
        return RateLimited(
            f"DingTalk {api}: too many calls (HTTP 429){words}. Calls are slowed down.",
            api=api,
            errcode=errcode,
            retry_after_s=1.0,
            name=name,
        )
    if status >= 500:
        return Unavailable(
            f"DingTalk {api}: HTTP {status}{words}. It passes by itself; try again later.",
            api=api,
            errcode=errcode,
            name=name,
        )
    return None


def _unusable(api: str, status: int, content: bytes, reply: object) -> ApiError:
    """An answer without an error code: the firewall, a proxy, or a broken platform."""
    if status == 400 and TLS_PORT.encode() in content:
        return Unavailable(
            f"DingTalk {api}: a plain HTTP request came to an HTTPS port (HTTP 400). A proxy between here "
            "and DingTalk drops TLS: name one in HTTPS_PROXY that takes CONNECT.",
            api=api,
        )
    is_page = content.lstrip()[:1] == b"<"
    wait = _WAIT_RE.search(content)
    signed = (is_page and wait) or (isinstance(reply, dict) and "punish" in reply)
    if signed or (is_page and (status < 300 or status == 403)):
        return Unavailable(
            f"DingTalk {api}: its firewall refuses this machine's address (no error code in the answer). "
            "More than 10,000 calls within 20 s shut it out for 5 minutes: call less often. If there were "
            "far fewer, a proxy between here and DingTalk answers in its place.",
            api=api,
            retry_after_s=(float(wait[1]) if wait else BAN_S) if signed else None,
            # any other page may be a proxy's, in place of this one answer
            about="address" if signed else "busy",
        )
    if (trouble := _trouble(api, status)) is not None:
        return trouble
    what = f"HTTP {status}" if status != 200 else "an answer without an error code"
    if is_page:  # as tengine's "The plain HTTP request was sent to HTTPS port"
        what += " with an HTML page instead of JSON"
    return Unavailable(
        f"DingTalk {api}: {what}. Check that DINGTALK_API_BASE is https://oapi.dingtalk.com (or your "
        "simulator) and that no proxy answers in its place.",
        api=api,
    )
