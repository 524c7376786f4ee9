"""Words of Kafka, its topics and rights, and of the journal's disk."""

from typing import Final

from dingbridge.doctor.findings import Level, Words

_E, _W, _N, _OK = Level.ERROR, Level.WARNING, Level.NOTE, Level.OK


KAFKA: Final = {
    "kafka.ok": Words(
        _OK,
        ("Kafka at {where} takes us; brokers: {brokers}, topics of ours: {topics}.",),
        ("Kafka {where} 连接正常；broker：{brokers}，我们的主题：{topics}。",),
    ),
    "kafka.unreachable": Words(
        _E,
        (
            "{said}.",
            "Start the broker, or correct KAFKA_BOOTSTRAP_SERVERS. Until then callbacks wait in the journal.",
        ),
        (
            "Kafka {where} 没有应答。",
            "启动 broker，或更正 KAFKA_BOOTSTRAP_SERVERS，并确认 advertised.listeners 可达。在此之前回调保"
            "存在日志里。",
        ),
    ),
    "kafka.credentials": Words(
        _E,
        (
            "{said}.",
            "Set name and password as the broker has them; a changed password needs a restart of ours.",
        ),
        (
            "Kafka {where} 有应答，但拒绝了用户名或密码。",
            "检查 KAFKA_SASL_USERNAME、KAFKA_SASL_PASSWORD、KAFKA_SASL_MECHANISM；改了密码要重启我们的进程。",
        ),
    ),
    "kafka.mechanism": Words(
        _E,
        (
            "{said}.",
            "Ask who runs the broker which mechanisms its listener has.",
        ),
        (
            "Kafka {where} 的这个监听没有我们设置的 SASL 机制。",
            "把 KAFKA_SASL_MECHANISM 设成它支持的一种。",
        ),
    ),
    "kafka.no_sasl": Words(
        _E,
        (
            "{said}.",
            "Use the listener with SASL, or a protocol without it.",
        ),
        (
            "Kafka {where} 的这个监听不使用 SASL。",
            "检查 KAFKA_SECURITY_PROTOCOL 和端口。",
        ),
    ),
    "kafka.tls": Words(
        _E,
        (
            "{said}.",
            "Compare listener, certificate and KAFKA_SSL_CAFILE; docs/security.md has a table.",
        ),
        (
            "Kafka {where} 的 TLS 连接失败：{said}。",
            "核对监听端口、证书和 KAFKA_SSL_CAFILE；docs/security.md 有对照表。",
        ),
    ),
    "kafka.protocol": Words(
        _E,
        (
            "{said}.",
            "Compare KAFKA_SECURITY_PROTOCOL with the listener that this port is.",
        ),
        (
            "Kafka {where} 接受连接后立刻关闭：监听的协议与 KAFKA_SECURITY_PROTOCOL 不同，或者那不是 Kafka。",
            "按这个端口的监听设置 KAFKA_SECURITY_PROTOCOL。",
        ),
    ),
    "kafka.failed": Words(
        _E,
        (
            "{said}.",
            "See the broker's log at this time.",
        ),
        (
            "Kafka {where} 出错：{said}。",
            "查看此刻 broker 的日志。",
        ),
    ),
    "kafka.rights": Words(
        _E,
        (
            "For {part}, {who} lacks {rights}.",
            "Grant it with kafka-acls.sh; docs/security.md lists who needs which rights.",
        ),
        (
            "{part} 需要的权限，{who} 没有：{rights}。",
            "用 kafka-acls.sh 授权；各自需要的权限见 docs/security.md。",
        ),
    ),
    "kafka.rights_unknown": Words(
        _N,
        (
            "This broker does not tell a client its rights, so they were not compared.",
            "Watch for `parked` in `dingbridge journal stats`, and /readyz of the consumers.",
        ),
        (
            "这个 broker 不告诉客户端有哪些权限，没有比对。",
            "留意 `dingbridge journal stats` 里的 `parked` 和消费者的 /readyz。",
        ),
    ),
    "kafka.create": Words(
        _E,
        (
            "These topics are not there, and {who} may not create them: {topics}.",
            "Grant CREATE, or let somebody run `dingbridge topics ensure` who may; docs/security.md lists "
            "who needs which rights.",
        ),
        (
            "这些主题不存在，而 {who} 无权创建：{topics}。",
            "授予 CREATE，或让有权限的人运行 `dingbridge topics ensure`；各自需要的权限见 docs/security.md。",
        ),
    ),
    "kafka.refused": Words(
        _E,
        (
            "Kafka would refuse to create {topics}: {reason}.",
            "Lower TOPIC_REPLICATION to the number of brokers, or follow what Kafka says.",
        ),
        (
            "Kafka 会拒绝创建 {topics}：{reason}。",
            "把 TOPIC_REPLICATION 降到 broker 的数目，或按 Kafka 的提示处理。",
        ),
    ),
    "kafka.missing": Words(
        _N,
        (
            "Topics that are not there yet: {count}; each is made when it is first needed.",
            "Nothing; or make them now with `dingbridge topics ensure`.",
        ),
        (
            "有 {count} 个主题还不存在；第一次用到时会创建。",
            "不用处理；也可以现在运行 `dingbridge topics ensure`。",
        ),
    ),
    "kafka.offline": Words(
        _E,
        (
            "Partitions without a leader: {topics}. Nothing can be written to or read from them.",
            "Start the brokers that hold them.",
        ),
        (
            "没有 leader 的分区：{topics}。读写都不行。",
            "启动持有它们的 broker。",
        ),
    ),
    "kafka.replicas": Words(
        _W,
        (
            "Some copies are not in step: {topics}.",
            "Start the missing brokers; until then another failure may stop these topics.",
        ),
        (
            "有副本没有跟上：{topics}。",
            "启动缺少的 broker；在此之前再坏一台就可能停住这些主题。",
        ),
    ),
    "kafka.replication": Words(
        _W,
        (
            "Of {brokers} brokers, these topics use too few, so one broken disk loses their events: "
            "{topics}.",
            "Raise the copies to {wanted} with kafka-reassign-partitions.sh; TOPIC_REPLICATION is for new "
            "topics.",
        ),
        (
            "有 {brokers} 个 broker，这些主题的副本却太少，坏一块盘就会丢事件：{topics}。",
            "用 kafka-reassign-partitions.sh 把副本数提高到 {wanted}；TOPIC_REPLICATION 只管新主题。",
        ),
    ),
    "kafka.one_broker": Words(
        _N,
        (
            "There is one broker, so one copy of each event.",
            "Enough for a trial; three brokers and three copies otherwise.",
        ),
        (
            "只有一个 broker，每个事件只有一份。",
            "试用足够；正式使用请用三个 broker、三个副本。",
        ),
    ),
    "kafka.retention": Words(
        _W,
        (
            "These topics keep events longer than our settings say: {topics}. A consumer that may not read "
            "a topic's configuration goes by the settings, and forgets in its inbox too early what it has "
            "done: a late repeat would be done twice.",
            "Set TOPIC_RETENTION_DAYS (INBOX_RETENTION_DAYS) to what Kafka has, for all consumers alike; "
            "or grant them DESCRIBE_CONFIGS.",
        ),
        (
            "这些主题保留事件的时间比我们的设置长：{topics}。无权读取主题配置的消费者按设置清理 inbox，会过"
            "早忘记处理过什么：迟到的重复会被处理两次。",
            "把 TOPIC_RETENTION_DAYS（INBOX_RETENTION_DAYS）设成与 Kafka 一致，所有消费者相同；或授予 "
            "DESCRIBE_CONFIGS。",
        ),
    ),
    "kafka.short": Words(
        _W,
        (
            "These topics keep events for less time than our settings say: {topics}. A consumer that is "
            "down for longer misses events.",
            "Set retention.ms of these topics with kafka-configs.sh, or the settings to what is meant.",
        ),
        (
            "这些主题保留事件的时间比我们的设置短：{topics}。消费者停得更久就会漏掉事件。",
            "用 kafka-configs.sh 修改这些主题的 retention.ms，或把设置改成实际想要的值。",
        ),
    ),
    "kafka.retention_unknown": Words(
        _N,
        (
            "{who} may not read the configuration of {count} topics: retention was not compared, and "
            "consumers with these rights go by our settings.",
            "Grant DESCRIBE_CONFIGS on them, if you changed their retention.",
        ),
        (
            "{who} 无权读取 {count} 个主题的配置：没有比对保留时间，同样权限的消费者按我们的设置处理。",
            "如果改过它们的保留时间，请授予 DESCRIBE_CONFIGS。",
        ),
    ),
}

DISK: Final = {
    "disk.ok": Words(
        _OK,
        ("The journal's folder {folder} is on {kind}, {free_gb} GB free, a write with fsync takes {ms} ms.",),
        ("日志目录 {folder} 位于 {kind}，剩余 {free_gb} GB，一次带 fsync 的写入用 {ms} 毫秒。",),
    ),
    "disk.absent": Words(
        _W,
        (
            "The journal's folder {folder} is not there: no ingress has run with these settings on this "
            "machine.",
            "Run this where the ingress runs, with its DATA_DIR or JOURNAL_DIR; the ingress makes the "
            "folder.",
        ),
        (
            "日志目录 {folder} 不存在：本机还没有用这些设置运行过 ingress。",
            "请在 ingress 所在的机器上、用它的 DATA_DIR 或 JOURNAL_DIR 运行；目录由 ingress 创建。",
        ),
    ),
    "disk.unusable": Words(
        _E,
        (
            "The journal's folder {folder} cannot be written by this user ({reason}).",
            "Run this as the ingress's user; if that is this one, chown the folder to it.",
        ),
        (
            "当前用户写不了日志目录 {folder}（{reason}）。",
            "用 ingress 的用户运行本命令；如果就是当前用户，请 chown。",
        ),
    ),
    "disk.unsafe": Words(
        _E,
        (
            "The journal's folder {folder} is on {kind}, where what was answered success may be gone; the "
            "ingress refuses it.",
            "Set JOURNAL_DIR to a local disk or a volume.",
        ),
        (
            "日志目录 {folder} 位于 {kind}，已应答 success 的回调可能丢失；ingress 会拒绝使用。",
            "把 JOURNAL_DIR 设到本地磁盘或卷上。",
        ),
    ),
    "disk.unsafe_allowed": Words(
        _W,
        (
            "The journal's folder {folder} is on {kind}, where what was answered success may be gone; "
            "JOURNAL_ALLOW_UNSAFE lets it pass.",
            "Enough for a trial; otherwise set JOURNAL_DIR to a local disk or a volume.",
        ),
        (
            "日志目录 {folder} 位于 {kind}，已应答 success 的回调可能丢失；JOURNAL_ALLOW_UNSAFE 放行了它。",
            "试用足够；正式使用请把 JOURNAL_DIR 设到本地磁盘或卷上。",
        ),
    ),
    "disk.full": Words(
        _E,
        (
            "{free_mb} MB are free under {folder}: below 256 MB the journal deletes early what Kafka has, "
            "and when it is full, callbacks are refused.",
            "Free space, or move JOURNAL_DIR to a larger disk.",
        ),
        (
            "{folder} 只剩 {free_mb} MB：低于 256 MB 时日志会提前删除已进入 Kafka 的回调，写满后会拒绝回调。",
            "清理空间，或把 JOURNAL_DIR 移到更大的磁盘。",
        ),
    ),
    "disk.low": Words(
        _W,
        (
            "{free_mb} MB are free under {folder}; while Kafka is away all callbacks wait there.",
            "Free space, or move JOURNAL_DIR to a larger disk.",
        ),
        (
            "{folder} 只剩 {free_mb} MB；Kafka 不可用时，所有回调都保存在那里。",
            "清理空间，或把 JOURNAL_DIR 移到更大的磁盘。",
        ),
    ),
    "disk.slow": Words(
        _W,
        (
            "A write with fsync under {folder} takes {ms} ms; each answer to DingTalk waits for one.",
            "Move JOURNAL_DIR to a local SSD, or look who else writes to this disk.",
        ),
        (
            "{folder} 上一次带 fsync 的写入要 {ms} 毫秒；每个应答都要等一次。",
            "把 JOURNAL_DIR 移到本地 SSD，或看看还有谁在写这块盘。",
        ),
    ),
    "disk.stalled": Words(
        _E,
        (
            "A write with fsync under {folder} took {ms} ms: callbacks that wait longer than 1,200 ms are "
            "refused.",
            "Move JOURNAL_DIR to another disk; look at the kernel's log for errors of this one.",
        ),
        (
            "{folder} 上一次带 fsync 的写入用了 {ms} 毫秒：等待超过 1,200 毫秒的回调会被拒绝。",
            "把 JOURNAL_DIR 移到别的磁盘；查看内核日志里这块盘的错误。",
        ),
    ),
}
