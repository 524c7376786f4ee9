"""Words of DingTalk's side: Open API, what is registered, its failed list, the month's quota."""

from typing import Final

from dingbridge.doctor.findings import Level, Words

_E, _W, _N, _OK, _SKIP = Level.ERROR, Level.WARNING, Level.NOTE, Level.OK, Level.SKIPPED


API: Final = {
    "api.ok": Words(
        _OK,
        ("DingTalk gives an access token, and allows all {count} calls that were tried: {apis}.",),
        ("钉钉发放了 access token，试过的 {count} 个接口都允许调用：{apis}。",),
    ),
    "api.skipped": Words(
        _SKIP,
        (
            "The Open API cannot be asked without the app's key and secret.",
            "See settings.no_app.",
        ),
        (
            "没有应用的 key 和 secret，无法查询开放接口。",
            "见 settings.no_app。",
        ),
    ),
    "api.suite": Words(
        _SKIP,
        (
            "The app {app} is a third-party suite, which calls in a company's name; doctor does not.",
            "Look at its permissions and its registration in DingTalk's console.",
        ),
        (
            "应用 {app} 是第三方套件，以授权企业的名义调用接口；doctor 不调用。",
            "请在钉钉后台查看它的权限和注册情况。",
        ),
    ),
    "api.credentials": Words(
        _E,
        (
            "DingTalk refuses DINGTALK_APP_KEY or DINGTALK_APP_SECRET ({said}).",
            "Copy Client ID and Client Secret from the app's page again; a reset secret is valid at once.",
        ),
        (
            "钉钉不接受 DINGTALK_APP_KEY 或 DINGTALK_APP_SECRET（{said}）。",
            "从应用页面重新复制 Client ID 和 Client Secret；重置后的 secret 立即生效。",
        ),
    ),
    "api.ip": Words(
        _E,
        (
            "DingTalk refuses calls from this machine's address ({said}).",
            "Add the address that it names to the app's server egress IP list (开发配置 → 服务器出口IP).",
        ),
        (
            "钉钉拒绝来自本机出口地址的调用（{said}）。",
            "把它指出的地址加入应用的“开发配置 → 服务器出口IP”。",
        ),
    ),
    "api.unreachable": Words(
        _E,
        (
            "{said}",
            "Mend the way to DINGTALK_API_BASE; see clock.unreachable.",
        ),
        (
            "无法调用开放接口：{said}",
            "检查到 DINGTALK_API_BASE 的网络；见 clock.unreachable。",
        ),
    ),
    "api.banned": Words(
        _E,
        (
            "DingTalk's firewall shuts this address out: more than 10,000 calls within 20 s, or a proxy "
            "answers in its place.",
            "Wait {wait_s} s. Find out which program behind this address calls so often.",
        ),
        (
            "钉钉的防火墙拦截了本机地址：20 秒内超过 10,000 次调用，或者有代理替它应答。",
            "等 {wait_s} 秒。查清这个出口地址后面哪个程序调用得这么频繁。",
        ),
    ),
    "api.busy": Words(
        _W,
        (
            "DingTalk did not do {api} just now ({said}).",
            "It passes by itself; run this again in a minute.",
        ),
        (
            "钉钉此刻没有完成 {api}（{said}）。",
            "会自行恢复；一分钟后再运行一次。",
        ),
    ),
    "api.quota": Words(
        _E,
        (
            "The company's API calls of this month are used up, says DingTalk; consumers wait until the "
            "next.",
            "A larger plan brings more calls at once.",
        ),
        (
            "钉钉说本月的接口调用量已用完；消费者会等到下个月。",
            "升级套餐可立即获得更多调用量。",
        ),
    ),
    "api.budget": Words(
        _W,
        (
            "API_MONTHLY_BUDGET is spent, so {api} was not called.",
            "Raise API_MONTHLY_BUDGET if DingTalk's plan has more; else it goes on next month.",
        ),
        (
            "API_MONTHLY_BUDGET 已用完，没有调用 {api}。",
            "如果钉钉的套餐还有余量，提高 API_MONTHLY_BUDGET；否则下个月继续。",
        ),
    ),
    "api.permission": Words(
        _E,
        (
            "The app may not call {api}, which {parts} needs ({said}).",
            "Request the permission that DingTalk names on the app's permission page (权限管理), and "
            "publish it.",
        ),
        (
            "应用无权调用 {api}，而 {parts} 需要它（{said}）。",
            "在应用的“权限管理”页申请钉钉指出的权限，并发布。",
        ),
    ),
    "api.scope": Words(
        _E,
        (
            "{api}, which {parts} needs, reaches beyond the app's contact scope ({said}).",
            "Widen the contact scope (通讯录权限范围) on the app's permission page, to all staff if all "
            "are wanted.",
        ),
        (
            "{parts} 需要的 {api} 超出了应用的通讯录权限范围（{said}）。",
            "在应用的权限页扩大“通讯录权限范围”；要同步全员就选全部员工。",
        ),
    ),
}

TAGS: Final = {
    "tags.ok": Words(
        _OK,
        ("{url} is registered by API for the {count} EventTypes that the consumers read.",),
        ("接口已注册 {url}，包含消费者读取的全部 {count} 种 EventType。",),
    ),
    "tags.unknown": Words(
        _SKIP,
        (
            "What is registered could not be asked for.",
            "See the findings of the Open API above.",
        ),
        (
            "无法查询注册了什么。",
            "见上面对开放接口的结果。",
        ),
    ),
    "tags.none": Words(
        _W,
        (
            "No callback is registered by API. A subscription made in DingTalk's console is not shown by "
            "the API.",
            "If there is none in the console either: `dingbridge callback register --url …`.",
        ),
        (
            "没有用接口注册过回调。在钉钉后台做的订阅，接口看不到。",
            "如果后台也没有订阅：`dingbridge callback register --url …`。",
        ),
    ),
    "tags.missing": Words(
        _E,
        (
            "Consumers read EventTypes that are not registered, so these never come: {tags}.",
            "`dingbridge callback register --replace --url {url}` registers what the consumers read.",
        ),
        (
            "消费者读取的这些 EventType 没有注册，不会推送：{tags}。",
            "`dingbridge callback register --replace --url {url}` 会注册消费者读取的全部类型。",
        ),
    ),
    "tags.unread": Words(
        _N,
        (
            "Registered, but read by no consumer that was looked at: {tags}.",
            "Leave them if a team of yours reads these topics; approvals and others count against the quota.",
        ),
        (
            "已注册但没有消费者读取：{tags}。",
            "如果有别的团队读取这些主题就保留；审批等类型会占用推送配额。",
        ),
    ),
    "tags.url": Words(
        _W,
        (
            "DingTalk pushes to {registered}, not to {url} as given with --url.",
            "Give the registered one, or register the other: `dingbridge callback register --replace --url "
            "…`.",
        ),
        (
            "钉钉推送到 {registered}，而不是 --url 给出的 {url}。",
            "改用已注册的 URL，或重新注册：`dingbridge callback register --replace --url …`。",
        ),
    ),
    "tags.token": Words(
        _E,
        (
            "The Token registered at DingTalk differs from DINGTALK_TOKEN: every push is refused for its "
            "signature.",
            "`dingbridge callback register --replace --url {url}` registers ours; or set the other one here.",
        ),
        (
            "钉钉处注册的 Token 与 DINGTALK_TOKEN 不同：每次推送都会因签名被拒绝。",
            "`dingbridge callback register --replace --url {url}` 会注册我们的；或在这里改成那边的值。",
        ),
    ),
    "tags.aes_key": Words(
        _E,
        (
            "The AES key registered at DingTalk differs from DINGTALK_AES_KEY: no push can be decrypted.",
            "`dingbridge callback register --replace --url {url}` registers ours; or set the other one here.",
        ),
        (
            "钉钉处注册的 AES key 与 DINGTALK_AES_KEY 不同：推送无法解密。",
            "`dingbridge callback register --replace --url {url}` 会注册我们的；或在这里改成那边的值。",
        ),
    ),
}

FAILED: Final = {
    "failed.read": Words(
        _OK,
        (
            "The ingress reads DingTalk's failed list by itself: to its end, or else since its own start, "
            "{minutes} minutes ago at most. Items recovered since the start, of all apps: {items}.",
        ),
        (
            "ingress 会自行读取钉钉的失败列表：上次读完（或 ingress 启动）至多在 {minutes} 分钟前。启动以来"
            "补回的事件（所有应用）：{items}。",
        ),
    ),
    "failed.stale": Words(
        _W,
        (
            "The ingress has not read DingTalk's failed list, of this app or another one, to its end for "
            "{hours} hours.",
            "`recovery.failed` in its log says which app's and why; it tries again by itself.",
        ),
        (
            "ingress 已有 {hours} 小时没能读完钉钉的失败列表（这个应用或另一个应用的）。",
            "它日志里的 `recovery.failed` 会说明是哪个应用、什么原因；它会自行重试。",
        ),
    ),
    "failed.pages": Words(
        _W,
        (
            "Pages of DingTalk's failed list that may be gone, of all apps, since the ingress started: "
            "{count}. The consumers were asked to look anew for that time.",
            "Let address-sync and approval run; docs/guide/recovery.md says what else this means.",
        ),
        (
            "ingress 启动以来，钉钉失败列表（所有应用）中可能丢失的页数：{count}。已要求消费者重新核对"
            "那段时间。",
            "让 address-sync 和 approval 保持运行；其他影响见 docs/guide/recovery.md。",
        ),
    ),
    "failed.unknown": Words(
        _N,
        (
            "Whether events wait in DingTalk's failed list cannot be known without reading it, which "
            "destroys pages of it; the ingress does not read it by itself. It has refused none of "
            "DingTalk's pushes since its start.",
            "Nothing; after an outage `dingbridge recover`, which reads every app's but a suite's.",
        ),
        (
            "钉钉的失败列表里是否有事件，不读就无法知道，而读取会销毁其中的页；ingress 没有设置为自行读取。"
            "启动以来它没有拒绝过钉钉的推送。",
            "不用处理；停机之后运行 `dingbridge recover`，它读取除套件以外每个应用的列表。",
        ),
    ),
    "failed.likely": Words(
        _W,
        (
            "The running ingress has refused {count} pushes signed by DingTalk, or for want of a disk. "
            "What failed three times waits in DingTalk's failed list, which the ingress does not read by "
            "itself.",
            "Mend the cause first, then run `dingbridge recover`, which reads every app's but a suite's.",
        ),
        (
            "运行中的 ingress 拒绝了 {count} 次钉钉的推送（签名正确，或磁盘写不进去）。失败三次的会进入钉钉"
            "的失败列表，而 ingress 没有设置为自行读取它。",
            "先消除原因，再运行 `dingbridge recover`，它读取除套件以外每个应用的列表。",
        ),
    ),
    "failed.unasked": Words(
        _SKIP,
        (
            "Whether events wait in DingTalk's failed list cannot be known without reading it, which "
            "destroys pages of it; and the ingress does not answer, whose metrics would tell what it "
            "refused.",
            "Start the ingress.",
        ),
        (
            "钉钉的失败列表里是否有事件，不读就无法知道，而读取会销毁其中的页；ingress 又没有应答，无从得知"
            "它拒绝过什么。",
            "启动 ingress。",
        ),
    ),
}

QUOTA: Final = {
    "quota.ok": Words(
        _OK,
        ("In {month}, by our own count: {calls} of 5,000 API calls, {pushes} of 3,000 pushes that count.",),
        ("{month} 按我们自己的统计：接口调用 {calls}/5,000 次，计费推送 {pushes}/3,000 次。",),
    ),
    "quota.calls": Words(
        _W,
        (
            "{calls} of the 5,000 API calls of {month} are spent, by our own count.",
            "See who spends them (by_api in --json); RECONCILE_EVERY_DAYS makes address-sync read less "
            "often.",
        ),
        (
            "{month} 的 5,000 次接口调用已用 {calls} 次（按我们自己的统计）。",
            "看看用在哪里（--json 的 by_api）；RECONCILE_EVERY_DAYS 可让 address-sync 少读一些。",
        ),
    ),
    "quota.calls_spent": Words(
        _E,
        (
            "{calls} API calls in {month}, by our own count: the free plan's 5,000 are spent.",
            "A larger plan, or wait for the first of the month.",
        ),
        (
            "{month} 的接口调用按我们自己的统计已有 {calls} 次：免费版的 5,000 次已用完。",
            "升级套餐，或等到下月一日。",
        ),
    ),
    "quota.pushes": Words(
        _W,
        (
            "{pushes} of the 3,000 pushes of {month} are spent, by what stands in Kafka.",
            "Register fewer EventTypes, or narrow approvals to the templates that matter, in DingTalk's "
            "console.",
        ),
        (
            "{month} 的 3,000 次推送已用 {pushes} 次（按 Kafka 里的记录）。",
            "少注册一些 EventType，或在钉钉后台把审批限定到需要的模板。",
        ),
    ),
    "quota.pushes_spent": Words(
        _E,
        (
            "{pushes} pushes in {month}, by what stands in Kafka: the free plan's 3,000 are spent, and "
            "DingTalk sends no more of those that count.",
            "A larger plan, or wait for the first of the month; then `dingbridge approvals resync`.",
        ),
        (
            "{month} 的推送按 Kafka 里的记录已有 {pushes} 次：免费版的 3,000 次已用完，计费类型不再推送。",
            "升级套餐，或等到下月一日；之后运行 `dingbridge approvals resync`。",
        ),
    ),
    "quota.pushes_unknown": Words(
        _N,
        (
            "{calls} of 5,000 API calls in {month}, by our own count. The pushes could not be counted: "
            "they are counted in Kafka, which did not tell.",
            "See the findings of Kafka above.",
        ),
        (
            "{month} 的接口调用按我们自己的统计为 {calls}/5,000 次。推送次数无法统计：它来自 Kafka，而 "
            "Kafka 没有给出。",
            "见上面对 Kafka 的结果。",
        ),
    ),
}
