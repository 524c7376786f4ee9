"""Words of what DingTalk meets: the public URL, the ingress, the owner key."""

from typing import Final

from dingbridge.doctor.findings import Level, Words

_E, _W, _N, _OK, _SKIP = Level.ERROR, Level.WARNING, Level.NOTE, Level.OK, Level.SKIPPED


URL: Final = {
    "url.ok": Words(
        _OK,
        ("{url} resolves, does not redirect, and answers a push of ours within {ms} ms.{tls}",),
        ("{url} 可以解析，不跳转，{ms} 毫秒内应答了我们自己的一次推送。{tls}",),
    ),
    "url.unknown": Words(
        _W,
        (
            "It is not known which URL DingTalk pushes to: none is registered by API, and --url is not "
            "given.",
            "Give --url, as --url https://bridge.example.com/callback.",
        ),
        (
            "不知道钉钉推送到哪个 URL：接口没有注册过，也没有给出 --url。",
            "加上 --url，例如 --url https://bridge.example.com/callback。",
        ),
    ),
    "url.invalid": Words(
        _E,
        (
            "{url} is no http(s) URL with a host.",
            "Write it as https://bridge.example.com/callback.",
        ),
        (
            "{url} 不是带主机名的 http(s) URL。",
            "写成 https://bridge.example.com/callback 这样。",
        ),
    ),
    "url.http": Words(
        _W,
        (
            "{url} is plain http: whoever stands between can read when DingTalk calls, and drop it.",
            "Put a proxy with a certificate in front, and register its https URL.",
        ),
        (
            "{url} 是明文 http：中间人看得到钉钉的调用，也能丢弃它。",
            "在前面放一个带证书的代理，注册它的 https URL。",
        ),
    ),
    "url.dns": Words(
        _E,
        (
            "The name {host} of the public URL cannot be resolved from here.",
            "Mend the DNS record, or the URL if the name is misspelt.",
        ),
        (
            "从这里解析不了公网 URL 的域名 {host}。",
            "修正 DNS 记录；如果域名写错了就改 URL。",
        ),
    ),
    "url.private": Words(
        _W,
        (
            "{host} resolves to {addresses}: no address of the internet, so DingTalk cannot reach it.",
            "Use a name that leads to a public address. If only this network resolves it so, run this "
            "outside.",
        ),
        (
            "{host} 解析为 {addresses}：不是公网地址，钉钉访问不到。",
            "使用指向公网地址的域名。如果只有内网这样解析，请在外网运行本命令。",
        ),
    ),
    "url.unreachable": Words(
        _E,
        (
            "{url} cannot be reached: {reason}.",
            "Start the proxy or the ingress; open its port in the firewall.",
        ),
        (
            "无法连接 {url}：{reason}。",
            "启动代理或 ingress；在防火墙上放行该端口。",
        ),
    ),
    "url.tls_name": Words(
        _E,
        (
            "The certificate of {host} is for another name.",
            "Have one made for {host}, and reload the proxy.",
        ),
        (
            "{host} 的证书属于别的域名。",
            "为 {host} 签发证书，并让代理重新加载。",
        ),
    ),
    "url.tls_expired": Words(
        _E,
        (
            "The certificate of {host} has expired.",
            "Renew it and reload the proxy; see why it was not renewed.",
        ),
        (
            "{host} 的证书已过期。",
            "续期并让代理重新加载；查清为什么没有自动续期。",
        ),
    ),
    "url.tls_untrusted": Words(
        _E,
        (
            "The certificate chain of {host} leads to no authority that is trusted here ({reason}).",
            "Let the proxy send the whole chain (fullchain.pem), by a public authority.",
        ),
        (
            "{host} 的证书链不受信任（{reason}）。",
            "让代理发送完整证书链（fullchain.pem），且由公共机构签发。",
        ),
    ),
    "url.tls_failed": Words(
        _E,
        (
            "{host} does not speak TLS on this port ({reason}).",
            "Check the URL's scheme and port, and the proxy.",
        ),
        (
            "{host} 的这个端口不支持 TLS（{reason}）。",
            "检查 URL 的协议和端口，以及代理配置。",
        ),
    ),
    "url.tls_soon": Words(
        _W,
        (
            "The certificate of {host} expires in {days} days.",
            "Renew it before; see why it was not renewed.",
        ),
        (
            "{host} 的证书将在 {days} 天后过期。",
            "提前续期；查清为什么没有自动续期。",
        ),
    ),
    "url.redirect": Words(
        _E,
        (
            "{url} redirects (HTTP {status}); DingTalk follows no redirect.",
            "Register the URL that it leads to, or take the redirect away for this path.",
        ),
        (
            "{url} 会跳转（HTTP {status}）；钉钉不跟随跳转。",
            "注册跳转后的 URL，或对这个路径取消跳转。",
        ),
    ),
    "url.refused": Words(
        _E,
        (
            "What answers at {url} refuses a push with our Token and AES key (HTTP 403): it is another "
            "ingress, one with other settings, or a proxy's own rule.",
            "See where the proxy leads, and compare the settings there; `callback.refused` in its log says "
            "why.",
        ),
        (
            "{url} 拒绝了用我们的 Token 和 AES key 签名的推送（HTTP 403）：它是另一个 ingress、设置不同，或"
            "是代理自己的规则。",
            "查看代理转发到哪里，比对那边的设置；它日志里的 `callback.refused` 会说明原因。",
        ),
    ),
    "url.status": Words(
        _E,
        (
            "{url} answers a push of ours with HTTP {status}; DingTalk wants 200.",
            "404: the path differs from CALLBACK_PATH. 5xx: the proxy does not reach the ingress. 400: it "
            "drops the query.",
        ),
        (
            "{url} 对我们的推送应答 HTTP {status}；钉钉要求 200。",
            "404：路径与 CALLBACK_PATH 不同。5xx：代理连不上 ingress。400：代理丢掉了查询参数。",
        ),
    ),
    "url.answer": Words(
        _E,
        (
            "{url} answers 200, but not with the encrypted success: it is no ingress with our settings.",
            "See where the proxy leads this path.",
        ),
        (
            "{url} 应答 200，但不是加密的 success：它不是用我们设置的 ingress。",
            "查看代理把这个路径转发到哪里。",
        ),
    ),
    "url.slow": Words(
        _E,
        (
            "{url} answered a push of ours after {ms} ms; DingTalk gives it 1,500 ms.",
            "If the ingress itself is fast (ingress.ok), look at the proxy and the network.",
        ),
        (
            "{url} 用了 {ms} 毫秒才应答；钉钉只等 1,500 毫秒。",
            "如果 ingress 自身很快（ingress.ok），请检查代理和网络。",
        ),
    ),
}

INGRESS: Final = {
    "ingress.ok": Words(
        _OK,
        ("The ingress is ready, and answers a push of ours within {ms} ms.",),
        ("ingress 已就绪，{ms} 毫秒内应答了我们自己的一次推送。",),
    ),
    "ingress.absent": Words(
        _E,
        (
            "No ingress answers at its private listener {address}: {reason}.",
            "Start it, or set ADMIN_HOST and ADMIN_PORT here as they are set there.",
        ),
        (
            "ingress 的内部端口 {address} 没有应答：{reason}。",
            "启动它，或把这里的 ADMIN_HOST、ADMIN_PORT 设成与它一致。",
        ),
    ),
    "ingress.not_ready": Words(
        _E,
        (
            "The ingress is not ready: its journal takes no writes ({reason}); DingTalk gets 503.",
            "Free or mend the disk; it goes on by itself.",
        ),
        (
            "ingress 未就绪：日志写不进去（{reason}）；钉钉得到的是 503。",
            "清理或修复磁盘；之后它会自行恢复。",
        ),
    ),
    "ingress.kafka": Words(
        _W,
        (
            "The ingress keeps callbacks, but has no Kafka: {reason}",
            "See the checks of Kafka below; what is kept is published when Kafka is back.",
        ),
        (
            "ingress 在接收并保存回调，但连不上 Kafka：{reason}",
            "见下面对 Kafka 的检查；恢复后会补发已保存的回调。",
        ),
    ),
    "ingress.unreachable": Words(
        _E,
        (
            "The public listener {url} cannot be reached from this machine: {reason}.",
            "Set INGRESS_HOST, INGRESS_PORT and CALLBACK_PATH here as they are set for the ingress.",
        ),
        (
            "从本机连不上公网监听 {url}：{reason}。",
            "把这里的 INGRESS_HOST、INGRESS_PORT、CALLBACK_PATH 设成与 ingress 一致。",
        ),
    ),
    "ingress.refused": Words(
        _E,
        (
            "The running ingress refuses a push with our Token and AES key (HTTP 403): it was started with "
            "others.",
            "Restart it with these settings; `callback.refused` in its log says which differs.",
        ),
        (
            "运行中的 ingress 拒绝了用我们的 Token 和 AES key 签名的推送（HTTP 403）：它启动时用的是别的值。",
            "用现在的设置重启它；它日志里的 `callback.refused` 会说明哪个不同。",
        ),
    ),
    "ingress.status": Words(
        _E,
        (
            "The public listener {url} answers a push of ours with HTTP {status}.",
            "404: CALLBACK_PATH differs. 503: the journal takes no writes. Anything else: another program "
            "has the port.",
        ),
        (
            "公网监听 {url} 对我们的推送应答 HTTP {status}。",
            "404：CALLBACK_PATH 不同。503：日志写不进去。其他：端口被别的程序占用。",
        ),
    ),
    "ingress.answer": Words(
        _E,
        (
            "{url} answers, but not with the encrypted success.",
            "Another program has this port: see INGRESS_PORT.",
        ),
        (
            "{url} 有应答，但不是加密的 success。",
            "端口被别的程序占用：检查 INGRESS_PORT。",
        ),
    ),
    "ingress.slow": Words(
        _E,
        (
            "The ingress answered a push of ours after {ms} ms; DingTalk gives it 1,500 ms.",
            "See the disk below, and how busy the machine is.",
        ),
        (
            "ingress 用了 {ms} 毫秒才应答；钉钉只等 1,500 毫秒。",
            "见下面对磁盘的检查，以及机器的负载。",
        ),
    ),
}

OWNER: Final = {
    "owner.ok": Words(
        _OK,
        ("DingTalk encrypts for {owner}, and the ingress takes it; callbacks since its start: {accepted}.",),
        ("钉钉使用 {owner} 加密，ingress 接受它；启动以来收到的回调：{accepted}。",),
    ),
    "owner.unseen": Words(
        _N,
        (
            "Which owner key DingTalk uses is not known yet: no callback has come since the ingress started.",
            "Change something in the company, such as a remark, and run this again.",
        ),
        (
            "还不知道钉钉使用哪个 owner key：ingress 启动以来没有收到回调。",
            "在企业里改一点东西（例如某人的备注），再运行一次。",
        ),
    ),
    "owner.refused": Words(
        _E,
        (
            "DingTalk encrypts for {owner}, which is not in DINGTALK_OWNER_KEY: {refused} callbacks "
            "refused, the last {ago_s} s ago.",
            "Set DINGTALK_OWNER_KEY={wanted} and restart the ingress, if {owner} is your appKey, corpId or "
            "suiteKey.",
        ),
        (
            "钉钉使用 {owner} 加密，而 DINGTALK_OWNER_KEY 里没有它：拒绝了 {refused} 个回调，最近一次在 "
            "{ago_s} 秒前。",
            "如果 {owner} 是你的 appKey、corpId 或 suiteKey，设置 DINGTALK_OWNER_KEY={wanted} 并重启 "
            "ingress。",
        ),
    ),
    "owner.restart": Words(
        _E,
        (
            "The running ingress refused {refused} callbacks for {owner}, which is in DINGTALK_OWNER_KEY "
            "here: it was started with other settings.",
            "Restart the ingress.",
        ),
        (
            "运行中的 ingress 拒绝了 {refused} 个使用 {owner} 的回调，而这里的 DINGTALK_OWNER_KEY 有它：它"
            "启动时用的是别的设置。",
            "重启 ingress。",
        ),
    ),
    "owner.signature": Words(
        _W,
        (
            "{count} requests since the start were signed with another Token than ours.",
            "Compare DINGTALK_TOKEN with the event subscription's. If it is right, somebody else sends them.",
        ),
        (
            "启动以来有 {count} 个请求不是用我们的 Token 签名的。",
            "把 DINGTALK_TOKEN 与事件订阅里的 Token 比对。如果一致，那是别人发来的。",
        ),
    ),
    "owner.unknown": Words(
        _SKIP,
        (
            "Which owner key DingTalk uses is what the running ingress knows, and it does not answer.",
            "Start it.",
        ),
        (
            "钉钉使用哪个 owner key 只有运行中的 ingress 知道，而它没有应答。",
            "启动它。",
        ),
    ),
}
