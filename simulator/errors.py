"""What can go wrong in the simulator: an answer of the Open API, or an action that cannot be done."""

from collections.abc import Mapping
from typing import Any, Final

from dingbridge.errors import BridgeError


class ActionError(BridgeError):
    """What was asked cannot be done to this company; the message says why and what could."""


class PlatformError(Exception):
    """A refusal of the Open API, raised wherever a call finds its reason to refuse.

    ``errcode`` and ``errmsg`` as DingTalk gives them (server-api-error-codes-1); ``more`` is beside them
    in the answer; ``newer_code`` and ``newer_message`` are what the newer host says, where that does not
    follow. Becomes an HTTP answer, and is therefore none of ``BridgeError``'s tree.
    """

    def __init__(
        self,
        errcode: int,
        errmsg: str | None = None,
        *,
        newer_code: str | None = None,
        newer_message: str | None = None,
        **more: Any,
    ) -> None:
        self.errcode, self.newer_code, self.newer_message = errcode, newer_code, newer_message
        self.errmsg = ERRMSG.get(errcode, "请求失败") if errmsg is None else errmsg
        self.more = more
        super().__init__(f"{errcode} {self.errmsg}")

    def answer(self) -> dict[str, Any]:
        """The JSON of the answer."""
        return {"errcode": self.errcode, "errmsg": self.errmsg, **self.more}


class NewerError(PlatformError):
    """A refusal of the newer host, api.dingtalk.com: a ``code`` that is a text, with an HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(0, message)
        self.code, self.status = code, status


def newer(error: PlatformError) -> tuple[dict[str, Any], int]:
    """``(answer, HTTP status)`` of a refusal as the newer host has it, but for its ``requestid``."""
    if isinstance(error, NewerError):
        code, status = error.code, error.status
    elif error.newer_code is not None:
        code, status = error.newer_code, 403
    else:
        number = error.more.get("sub_code") or error.errcode
        code, status = _NEWER.get(int(number) if str(number).isdecimal() else number, (str(number), 400))
    return {"code": code, "message": error.newer_message or error.errmsg}, status


REFUSED: Final = "Forbidden.AccessDenied."
_NEWER: Final[Mapping[Any, tuple[str, int]]] = {
    **dict.fromkeys((40014, 41001, 42001), ("InvalidAuthentication", 400)),
    **dict.fromkeys((43008, 400002), ("invalidParameter", 400)),
    -1: ("systemError", 500),
    60011: (REFUSED + "AccessTokenPermissionDenied", 403),
    60020: (REFUSED + "IpNotInWhiteList", 403),
    90002: (REFUSED + "QpsLimitForApi", 403),
    90018: (REFUSED + "QpsLimitForAppkeyAndApi", 403),
    90020: (REFUSED + "ApiCountLimitForOrg", 403),
}
"""What a refusal of the older host is called by the newer one."""

ERRMSG: Final[Mapping[int, str]] = {
    -1: "系统繁忙",
    15: "isp.top-remote-connection-timeout",
    33012: "无效的USERID",
    40001: "获取access_token时Secret错误，或者access_token无效",
    40014: "不合法的access_token",
    40022: "手机号码与登录手机号不一致，不能修改",
    40031: "不合法的UserID列表",
    40033: "不合法的请求字符，不能包含\\uxxxx格式的字符",
    40035: "不合法的参数",
    40063: "不合法的分机号",
    40064: "不合法的办公地点",
    40065: "不合法的备注",
    40066: "不合法的部门列表",
    40089: "不合法的appkey或appsecret",
    40100: "分机号已存在",
    40103: "该用户开启了帐号保护，已发送邀请，需用户同意后才能加入",
    40104: "手机号码不合法",
    41001: "缺少access_token参数",
    41002: "缺少appkey参数",
    41004: "缺少appsecret参数",
    42001: "access_token超时",
    43007: "需要授权",
    43008: "参数需要是json类型",
    50002: "员工不在授权范围",
    50004: "部门不在授权范围",
    60001: "部门名称长度不合法",
    60003: "部门不存在",
    60004: "父部门不存在",
    60005: "不能删除有成员的部门",
    60006: "不能删除有子部门的部门",
    60007: "不能删除根部门",
    60009: "部门名称含有非法字符",
    60010: "部门存在循环关系",
    60011: "管理员权限不足(user/department/agent)",
    60018: "不能修改根部门的父部门",
    60019: "从部门查询人员失败",
    60020: "访问ip不在白名单之中",
    60021: "该父部门下存在同名部门",
    60068: "部门主管不是部门的成员",
    60102: "UserID在公司中已存在",
    60104: "手机号码在公司中已存在",
    60105: "邮箱格式错误",
    60106: "邮箱在公司中已存在",
    60111: "不合法的UserID",
    60112: "不合法的姓名",
    60119: "不合法的职位",
    60121: "找不到该用户",
    60122: "不合法的扩展属性",
    60123: "不合法的工号",
    60128: "直属主管不存在",
    71006: "回调地址已经存在",
    71007: "回调地址不存在",
    71008: "回调call_back_tag不在有效范围内",
    71009: "返回文本非success",
    71010: "POST的JSON数据不包含所需要的参数字段或包含的参数格式非法",
    71011: "传入的url参数不是合法的url格式",
    71012: "url地址访问异常",
    71013: "此域名或IP不能注册或者接收回调事件",
    **{code: "您的服务器调用钉钉开放平台接口过于频繁，请稍后再试" for code in range(90001, 90018)},
    90002: "您的服务器调用钉钉开放平台当前接口的所有请求都被暂时禁用了",
    90018: "您的应用调用该接口的频率超过限制，请求被暂时禁用了",
    90020: "企业当月API调用量已用完",
    400002: "无效的参数",
    400040: "回调不存在",
    400041: "回调已经存在",
}
"""DingTalk's words for its codes (server-api-error-codes-1), where an answer has none of its own."""


def denied(errcode: int, permission: str, app_key: str) -> PlatformError:
    """A permission that is missing, in the form of newer refusals (captured, 2026-09): errcode 88, the code
    that counts beside it and once more in the text, with the address where to ask for it."""
    words = f"应用尚未开通所需的权限：[{permission}]"
    address = f"https://open-dev.dingtalk.com/appscope/apply?content={app_key}%23{permission}"
    more = f"{words}，点击链接申请并开通即可：{address}"
    said = f"ding talk error[subcode={errcode},submsg={more}, {{requiredScopes=[{permission}]}}]"
    return PlatformError(88, said, newer_message=words, sub_code=str(errcode), sub_msg=more)
