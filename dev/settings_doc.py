"""Writes ``docs/reference/settings.md``: every setting with its default and what it means, from the code.

What a setting means stands beneath its field, as a docstring; for the Chinese page, in
``dev/settings_zh.toml``. Run ``python -m dev.settings_doc`` after a change of either.
"""

import ast
import inspect
import textwrap
import tomllib
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Final

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from dingbridge.console.settings import ConsoleSettings
from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.approval.settings import ApprovalSettings
from dingbridge.consumers.forward.settings import ForwardSettings
from dingbridge.consumers.outbound.settings import OutboundSettings
from dingbridge.settings import (
    CallbackSettings,
    ConsumerLimits,
    ConsumerSettings,
    DatabaseSettings,
    DingTalkApiSettings,
    IngressSettings,
    KafkaSettings,
    LogSettings,
    Settings,
    TracingSettings,
)
from dingbridge.simulator.settings import SimulatorSettings

REFERENCE: Final = Path(__file__).parents[1] / "docs" / "reference"
PAGE: Final = REFERENCE / "settings.md"
CHINESE_PAGE: Final = REFERENCE / "settings.zh-CN.md"
CHINESE: Final = Path(__file__).with_name("settings_zh.toml")

SECTIONS: Final[tuple[tuple[str, str, type[Settings]], ...]] = (
    ("DingTalk: callbacks", "钉钉：回调", CallbackSettings),
    ("The database", "数据库", DatabaseSettings),
    ("DingTalk: the Open API", "钉钉：开放接口", DingTalkApiSettings),
    ("Logs", "日志", LogSettings),
    ("Kafka, and the topics that we create", "Kafka，以及由我们创建的 topic", KafkaSettings),
    ("The ingress", "ingress", IngressSettings),
    ("Every consumer", "每个消费者", ConsumerSettings),
    (
        "One consumer, by its name: `BILLING_CONCURRENCY`",
        "某一个消费者，以其名字开头：`BILLING_CONCURRENCY`",
        ConsumerLimits,
    ),
    ("address-sync", "address-sync", AddressSyncSettings),
    ("approval", "approval", ApprovalSettings),
    ("forward", "forward", ForwardSettings),
    ("outbound", "outbound", OutboundSettings),
    ("The console", "控制台", ConsoleSettings),
    ("Traces", "链路追踪", TracingSettings),
    ("The simulator", "模拟器", SimulatorSettings),
)
"""Each setting is in the first section whose class has it, but for the traces'."""

HEAD: Final = """# Settings

[中文](settings.zh-CN.md)

Made from the code by `python -m dev.settings_doc`; do not edit.

Settings come from the environment; an empty variable counts as not set. A secret may stand in a file instead:
`<NAME>_FILE` names it. All mistakes are reported at once, with exit code 2, before anything listens.
"""
CHINESE_HEAD: Final = """# 设置

[English](settings.md)

由 `python -m dev.settings_doc` 根据代码生成，请勿修改。

设置来自环境变量；空值等于未设置。密钥可以放在文件里，由 `<NAME>_FILE` 指定。
所有错误在监听端口之前一次报告，退出码为 2。
"""


def meanings(cls: type[Settings]) -> dict[str, str]:
    """The docstring below each field of ``cls``, by name. Read from the source here, and not by pydantic
    (``use_attribute_docstrings``), which would do so at each start of each process."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base is Settings or not issubclass(base, Settings):
            continue
        source = ast.parse(textwrap.dedent(inspect.getsource(base)))
        for field, below in chain.from_iterable(pairwise(getattr(one, "body", ())) for one in source.body):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = text
    return found


def fields() -> Iterator[tuple[tuple[str, str], str, FieldInfo, str]]:
    """``((section, its Chinese name), variable, field, meaning)`` of every setting, once."""
    seen: set[str] = set()
    for english, chinese, cls in SECTIONS:
        said = meanings(cls)
        for name, field in cls.model_fields.items():
            variable = ("<NAME>_" if cls is ConsumerLimits else "") + name.upper()
            if variable not in seen and (cls is TracingSettings or name not in TracingSettings.model_fields):
                seen.add(variable)
                yield (english, chinese), variable, field, " ".join(said.get(name, "").split())


def pages() -> dict[Path, str]:
    """The text of each page."""
    said = tomllib.loads(CHINESE.read_text(encoding="utf-8"))
    english, chinese, last = [HEAD], [CHINESE_HEAD], ("", "")
    for section, variable, field, meaning in fields():
        if section != last:
            english.append(f"\n## {section[0]}\n\n| setting | default | meaning |\n|---|---|---|\n")
            chinese.append(f"\n## {section[1]}\n\n| 设置 | 默认值 | 含义 |\n|---|---|---|\n")
            last = section
        english.append(_row(variable, field, meaning))
        chinese.append(_row(variable, field, said.get(variable, "")))
    return {PAGE: "".join(english), CHINESE_PAGE: "".join(chinese)}


def _row(variable: str, field: FieldInfo, meaning: str) -> str:
    cells = (f"`{variable}`", _default(field), meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value in (None, "", []) or isinstance(value, SecretStr):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(path)
