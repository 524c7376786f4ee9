"""Words of what is ours: settings, keys, clock."""

from typing import Final

from dingbridge.doctor.findings import Level, Words

_E, _W, _N, _OK, _SKIP = Level.ERROR, Level.WARNING, Level.NOTE, Level.OK, Level.SKIPPED


SETTINGS: Final = {
    "settings.ok": Words(
        _OK,
        ("The settings fit together; app: {app}; checked for: {parts}.",),
        ("各项设置互不矛盾；应用：{app}；检查对象：{parts}。",),
    ),
    "settings.invalid": Words(
        _E,
        (
            "{problem}",
            "Mend it in the environment of the ingress; with it the ingress does not start.",
        ),
        (
            "{problem}",
            "请修改 ingress 的环境变量；否则 ingress 不会启动。",
        ),
    ),
    "settings.app": Words(
        _E,
        (
            "There are several apps ({apps}), and none of them is the environment's.",
            "Name one with --app, and run this once for each.",
        ),
        ("有多个应用（{apps}），而环境变量里没有应用。", "用 --app 指定一个，每个应用各运行一次。"),
    ),
    "settings.consumer": Words(
        _E,
        (
            "The consumer {consumer} would not start: {reason}",
            "Mend it, or leave it out with --part.",
        ),
        (
            "消费者 {consumer} 无法启动：{reason}",
            "请修复它，或用 --part 不检查它。",
        ),
    ),
    "settings.no_app": Words(
        _W,
        (
            "The app {app} has no app key or no app secret, so nothing can be asked of DingTalk's Open API.",
            "Set DINGTALK_APP_KEY and DINGTALK_APP_SECRET (Client ID and Client Secret on the app's page), "
            "or both in DINGTALK_APPS_FILE.",
        ),
        (
            "应用 {app} 没有 app key 或 app secret，无法向钉钉开放接口查询任何东西。",
            "设置 DINGTALK_APP_KEY 和 DINGTALK_APP_SECRET（应用页面上的 Client ID 和 Client Secret），或写进 "
            "DINGTALK_APPS_FILE。",
        ),
    ),
    "settings.stopped": Words(
        _SKIP,
        (
            "The other checks need settings that work.",
            "Mend the settings, then run this again.",
        ),
        (
            "其余检查需要可用的设置。",
            "先改好设置，再运行一次。",
        ),
    ),
    "doctor.fault": Words(
        _E,
        (
            "The check {check} broke ({error} at {place}); this is a fault of ours.",
            "Please report it.",
        ),
        (
            "检查项 {check} 自身出错（{error}，位于 {place}）；这是我们的缺陷。",
            "请报告给我们。",
        ),
    ),
    "key.ok": Words(
        _OK,
        ("Token, AES key and owner keys have the right form.",),
        ("Token、AES key、owner key 的格式正确。",),
    ),
    "key.aes": Words(
        _E,
        (
            "{problem}",
            "Copy the EncodingAESKey of the event subscription again, without quotes, blanks or a trailing "
            "=.",
        ),
        (
            "{problem}",
            "重新复制事件订阅的 EncodingAESKey（加密 aes_key），不要带引号、空格或末尾的 =。",
        ),
    ),
    "key.token": Words(
        _E,
        (
            "DINGTALK_TOKEN: {problem}.",
            "Copy the Token of the event subscription again.",
        ),
        (
            "DINGTALK_TOKEN 的格式不对：{problem}。",
            "重新复制事件订阅的 Token（签名 token）。",
        ),
    ),
    "key.owner": Words(
        _E,
        (
            "DINGTALK_OWNER_KEY: {problem}.",
            "It is the Client ID (appKey), the corpId or the suiteKey; several with commas.",
        ),
        (
            "DINGTALK_OWNER_KEY 的格式不对：{problem}。",
            "应为 Client ID（appKey）、corpId 或 suiteKey；多个用逗号隔开。",
        ),
    ),
    "key.none": Words(
        _E,
        (
            "The app {app} has no Token and AES key that are valid now, so none of its callbacks can be "
            "read.",
            "Write those of its event subscription into DINGTALK_APPS_FILE.",
        ),
        (
            "应用 {app} 没有当前有效的 Token 和 AES key，无法接收它的回调。",
            "把它的事件订阅的 Token 和 AES key 写进 DINGTALK_APPS_FILE。",
        ),
    ),
    "key.token_length": Words(
        _W,
        (
            "DINGTALK_TOKEN has {length} characters; DingTalk's API registers only tokens of 6 to 63.",
            "Choose another one, here and at DingTalk, before you register by API.",
        ),
        (
            "DINGTALK_TOKEN 有 {length} 个字符；钉钉的接口只接受 6 到 63 个字符的 token。",
            "用接口注册之前，在两边换一个 token。",
        ),
    ),
}

CLOCK: Final = {
    "clock.ok": Words(
        _OK,
        ("This machine's clock and DingTalk's differ by less than {limit_s} s.",),
        ("本机时钟与钉钉相差不到 {limit_s} 秒。",),
    ),
    "clock.skew": Words(
        _W,
        (
            "This machine's clock is {seconds} s {side} DingTalk's; times and ages will be off by that.",
            "Let chrony or systemd-timesyncd set the clock.",
        ),
        (
            "本机时钟比钉钉{side} {seconds} 秒；时间和时延都会差这么多。",
            "用 chrony 或 systemd-timesyncd 校准时钟。",
        ),
    ),
    "clock.wrong": Words(
        _E,
        (
            "This machine's clock is {seconds} s {side} DingTalk's: more than CALLBACK_MAX_AGE_S "
            "({limit_s} s), so callbacks are refused for their age.",
            "Let chrony or systemd-timesyncd set the clock.",
        ),
        (
            "本机时钟比钉钉{side} {seconds} 秒，超过 CALLBACK_MAX_AGE_S（{limit_s} 秒），回调会因时间戳被拒"
            "绝。",
            "用 chrony 或 systemd-timesyncd 校准时钟。",
        ),
    ),
    "clock.unknown": Words(
        _N,
        (
            "The answer of {base} has no Date header, so the clocks cannot be compared.",
            "Look for a proxy that answers in DingTalk's place.",
        ),
        (
            "{base} 的应答没有 Date 头，无法比对时钟。",
            "看看是否有代理替钉钉应答。",
        ),
    ),
    "clock.unreachable": Words(
        _E,
        (
            "{base} cannot be reached: {reason}.",
            "Check DINGTALK_API_BASE, DNS, and that the firewall lets this machine out to it.",
        ),
        (
            "无法连接 {base}：{reason}。",
            "检查 DINGTALK_API_BASE、DNS，以及防火墙是否放行出站连接。",
        ),
    ),
}
