"""An answer with an ``errcode``, raised wherever a call of the Open API finds its reason to refuse."""


class PlatformError(Exception):
    """``errcode`` and ``errmsg`` as DingTalk gives them (server-api-error-codes-1). Becomes an HTTP answer,
    and is therefore none of ``BridgeError``'s tree."""

    def __init__(self, errcode: int, errmsg: str) -> None:
        super().__init__(f"{errcode} {errmsg}")
        self.errcode = errcode
        self.errmsg = errmsg
