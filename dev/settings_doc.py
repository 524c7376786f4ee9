"""Writes ``docs/reference/settings.md``: every setting with its default and what it means, from the code.

What a setting means stands beneath its field, as a docstring; the Chinese column is
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
    SchemaRegistrySettings,
    Settings,
    TracingSettings,
)
from dingbridge.simulator.settings import SimulatorSettings

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"
CHINESE: Final = Path(__file__).with_name("settings_zh.toml")

SECTIONS: Final[tuple[tuple[str, type[Settings]], ...]] = (
    ("DingTalk: callbacks", CallbackSettings),
    ("The database", DatabaseSettings),
    ("DingTalk: the Open API", DingTalkApiSettings),
    ("Logs", LogSettings),
    ("Kafka, and the topics that we create", KafkaSettings),
    ("The ingress", IngressSettings),
    ("Every consumer", ConsumerSettings),
    ("One consumer, by its name: `BILLING_CONCURRENCY`", ConsumerLimits),
    ("address-sync", AddressSyncSettings),
    ("approval", ApprovalSettings),
    ("forward", ForwardSettings),
    ("outbound", OutboundSettings),
    ("The console", ConsoleSettings),
    ("Traces", TracingSettings),
    ("A schema registry, for `dingbridge schema publish`", SchemaRegistrySettings),
    ("The simulator", SimulatorSettings),
)
"""Each setting is in the first section whose class has it, but for the traces'."""

HEAD: Final = """# Settings

Made from the code by `python -m dev.settings_doc`; do not edit. 本页由代码生成，请勿修改。

Settings come from the environment; an empty variable counts as not set. A secret may stand in a file instead:
`<NAME>_FILE` names it. All mistakes are reported at once, with exit code 2, before anything listens.

设置来自环境变量；空值等于未设置。密钥可以放在文件里，由 `<NAME>_FILE` 指定。所有错误一次报告，退出码为 2。
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


def fields() -> Iterator[tuple[str, str, FieldInfo, str]]:
    """``(section, variable, field, meaning)`` of every setting, once."""
    seen: set[str] = set()
    for section, cls in SECTIONS:
        said = meanings(cls)
        for name, field in cls.model_fields.items():
            variable = ("<NAME>_" if cls is ConsumerLimits else "") + name.upper()
            if variable not in seen and (cls is TracingSettings or name not in TracingSettings.model_fields):
                seen.add(variable)
                yield section, variable, field, " ".join(said.get(name, "").split())


def page() -> str:
    """The text of ``docs/reference/settings.md``."""
    chinese = tomllib.loads(CHINESE.read_text(encoding="utf-8"))
    parts, last = [HEAD], ""
    for section, variable, field, meaning in fields():
        if section != last:
            parts.append(f"\n## {section}\n\n| setting | default | meaning | 含义 |\n|---|---|---|---|\n")
            last = section
        cells = (f"`{variable}`", _default(field), meaning, chinese.get(variable, ""))
        parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(parts)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None or value == [] or isinstance(value, SecretStr):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
