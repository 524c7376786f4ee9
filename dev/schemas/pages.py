"""``docs/reference/catalogue``: a page for each family of EventTypes, in English and in Chinese."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from dingbridge.events.catalogue import EventSpec, Words, catalogue
from dingbridge.events.envelope import Record
from dingbridge.schema.model import DataModel, Property, Shape, forms_of, model_of

Language = Literal["en", "zh"]
SUFFIX: Final[Mapping[Language, str]] = {"en": "", "zh": ".zh-CN"}

_TEXTS: Final[dict[str, Words]] = {
    "note": Words(
        "由 `python -m dev.schemas` 根据目录生成，请勿修改。",
        "Made from the catalogue by `python -m dev.schemas`; do not edit.",
    ),
    "catalogue": Words("事件目录", "Catalogue of events"),
    "intro": Words(
        "每种 EventType 一个 topic：前缀（默认 `dingtalk.`）加 EventType。`data` 的字段见各页，信封见"
        "[怎样读 topic](../../guide/reading-topics.zh-CN.md)，"
        "全部内容见 [AsyncAPI 文件](../../../schemas/asyncapi.json)。",
        "Each EventType has a topic: a prefix, by default `dingtalk.`, and the EventType. The pages have\n"
        "the fields of `data`, [Reading the topics](../../guide/reading-topics.md) has the envelope, and\n"
        "[an AsyncAPI document](../../../schemas/asyncapi.json) all of it.",
    ),
    "open": Words(
        "真实的回调可能多出字段，也可能缺少字段；取值可能增加。",
        "Real callbacks may hold more fields, and fewer; values may be added.",
    ),
    "legend": Words(
        "各页的表里：`id` 是文本，钉钉发来数字时也是；`ms` 是毫秒的时间戳，UTC；`dataList[].userId` "
        "是列表每一项里的字段。*是否出现*是钉钉文档的说法，不是承诺；格式 `old` 和 `new` "
        "是钉钉的两代报文，记录的 `form` 写明是哪一种。",
        "In the tables, an `id` is text, also where DingTalk sends a number; `ms` is epoch milliseconds;\n"
        "`dataList[].userId` is a field of each entry of a list. *There* says what DingTalk documents, and\n"
        "is no promise; the forms `old` and `new` are DingTalk's two generations of payloads, and a\n"
        "record's `form` says which it was.",
    ),
    "family": Words("类别", "family"),
    "types": Words("EventType", "EventTypes"),
    "count": Words("{} 个 EventType，{} 个类别。", "{} EventTypes in {} families."),
    "field": Words("字段", "field"),
    "type": Words("类型", "type"),
    "there": Words("是否出现", "there"),
    "meaning": Words("含义", "meaning"),
    "yes": Words("总有", "yes"),
    "sometimes": Words("不一定", "sometimes"),
    "old": Words("仅旧格式", "in the old form"),
    "new": Words("仅新格式", "in the new form"),
    "about": Words("subject：{}。", "Subject: {}."),
    "about-nothing": Words("没有 subject。", "No subject."),
    "split": Words("列表中每一项成为一条消息。", "Each entry of its list becomes a record."),
    "forms": Words("格式：{}。", "Forms: {}."),
    "links": Words(
        "[钉钉文档]({page}) · [JSON Schema](../../../schemas/json/{name}.json)"
        "（[2020-12](../../../schemas/json-2020-12/{name}.json)） · "
        "[钉钉发来的回调](../../../schemas/examples/{name}.json)",
        "[DingTalk's page]({page}) · [JSON Schema](../../../schemas/json/{name}.json)\n"
        "([2020-12](../../../schemas/json-2020-12/{name}.json)) ·\n"
        "[callbacks, as DingTalk sends them](../../../schemas/examples/{name}.json)",
    ),
    "example": Words("一条消息的 `data`，取值是编的：", "`data` of a record, its values made up:"),
}

_KINDS: Final = {
    "user": "用户",
    "department": "部门",
    "process-instance": "审批实例",
    "chat": "群会话",
    "label": "角色",
    "contact": "外部联系人",
    "order": "订单",
    "booking": "会议室预定",
    "room": "会议室",
    "task": "待办任务",
    "calendar-event": "日程",
    "live": "直播",
    "agent": "微应用",
    "file": "文件",
}
"""Kinds of subjects in Chinese; one that is not here keeps its name."""


def texts(specs: Sequence[EventSpec], examples: Mapping[str, Sequence[Record]]) -> dict[str, str]:
    """``{path below the repository: text}`` of all pages. ``examples`` are records by EventType."""
    found = {}
    languages: tuple[Language, ...] = ("en", "zh")
    for language in languages:
        found[_path("README", language)] = _index(specs, language)
        for family in catalogue.families:
            of_it = [spec for spec in specs if spec.family == family]
            parts = [part for spec in of_it for part in _section(spec, examples[spec.event_type], language)]
            title = _in(catalogue.families[family], language)
            head = _head(title, family, language) + f"{_say('open', language)}\n"
            found[_path(family, language)] = "\n".join([head, *parts])
    return found


def _path(name: str, language: Language) -> str:
    return f"docs/reference/catalogue/{name}{SUFFIX[language]}.md"


def _in(words: Words, language: Language) -> str:
    return words.en if language == "en" else words.zh


def _say(name: str, language: Language) -> str:
    return _in(_TEXTS[name], language)


def _head(title: str, name: str, language: Language) -> str:
    other = f"[中文]({name}.zh-CN.md)" if language == "en" else f"[English]({name}.md)"
    return f"# {title}\n\n{other}. {_say('note', language)}\n\n"


def _index(specs: Sequence[EventSpec], language: Language) -> str:
    lines = [
        _head(_say("catalogue", language), "README", language) + _say("intro", language),
        "",
        f"{_say('count', language).format(len(specs), len(catalogue.families))} {_say('open', language)}",
        "",
        _say("legend", language),
        "",
        f"| {_say('family', language)} | {_say('types', language)} |",
        "|---|---|",
    ]
    for family, words in catalogue.families.items():
        page = f"{family}{SUFFIX[language]}.md"
        names = [spec.event_type for spec in specs if spec.family == family]
        links = ", ".join(f"[`{name}`]({page}#{name.lower()})" for name in names)
        lines.append(f"| [{_in(words, language)}]({page}) | {links} |")
    return "\n".join(lines) + "\n"


def _section(spec: EventSpec, examples: Sequence[Record], language: Language) -> Iterator[str]:
    name = spec.event_type
    yield f"## `{name}`\n"
    stop, space = (".", " ") if language == "en" else ("。", "")
    about = _say("about-nothing", language)
    if spec.subject is not None:
        kind = spec.subject.kind if language == "en" else _KINDS.get(spec.subject.kind, spec.subject.kind)
        about = _say("about", language).format(kind.replace("-", " "))
        about += space + _say("split", language) if spec.subject.is_list else ""
    forms = _say("forms", language).format(", ".join(f"`{form}`" for form in forms_of(spec)))
    yield f"{_in(spec.title, language)}{stop}{space}{about}{space}{forms}\n"
    yield _say("links", language).format(page=spec.page, name=name) + "\n"
    heads = (_say(head, language) for head in ("field", "type", "there", "meaning"))
    yield f"| {' | '.join(heads)} |\n|---|---|---|---|"
    model = model_of(spec)
    for path, found in _rows(model.properties):
        there = _there(model, spec, found, language) if found.name == path else _say("sometimes", language)
        yield f"| `{path}` | {_type(found.shape)} | {there} | {_meaning(path, found, language)} |"
    data = json.loads(examples[0].value)["data"]
    yield f"\n{_say('example', language)}\n"
    yield f"```json\n{json.dumps(data, ensure_ascii=False, indent=2)}\n```\n"


def _rows(properties: Sequence[Property], above: str = "") -> Iterator[tuple[str, Property]]:
    """Each property with its path, ``dataList[].checkTime``; those of an object after it."""
    for found in properties:
        path = above + found.name
        yield path, found
        inner = found.shape.items if found.shape.items is not None else found.shape
        yield from _rows(inner.properties, f"{path}[]." if inner is not found.shape else f"{path}.")


def _type(shape: Shape) -> str:
    if shape.items is not None:
        return f"array of {_type(shape.items)}"
    return f"{shape.type}, {shape.mark}" if shape.mark else shape.type


def _there(model: DataModel, spec: EventSpec, found: Property, language: Language) -> str:
    if found.required:
        return _say("yes", language)
    having = [form for form in model.forms if found.name in {p.name for p in model_of(spec, form).properties}]
    one_only = len(having) == 1 < len(model.forms)
    [in_it] = [p for p in model_of(spec, having[0]).properties if p.name == found.name]
    words = _say(having[0], language) if one_only else ""
    if in_it.required and one_only:
        return words
    sometimes = _say("sometimes", language)
    return f"{words}{', ' if language == 'en' else '，'}{sometimes}" if one_only else sometimes


def _meaning(path: str, found: Property, language: Language) -> str:
    meaning = catalogue.meaning(found.name) if path == found.name else None
    parts = [_in(meaning, language)] if meaning is not None else []
    parts += [f"`{value}`: {_in(words, language)}" for value, words in found.values]
    return ("; " if language == "en" else "；").join(parts)
