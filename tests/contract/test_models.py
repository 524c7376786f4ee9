"""Generators that are not ours make models of every EventType from the AsyncAPI document.

These decode what a real ingress has published: nothing is lost, and a value of another type is refused.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from dingbridge.events import catalogue
from tests.contract.examples import example
from tests.contract.published import Published, payloads, write_schemas
from tests.contract.toolchain import EXAMPLES, need, npm_install, run

DECODERS: Final = Path(__file__).with_name("decoders")

RETYPED: Final = (
    ("bpms_instance_change", "createTime", "1764057601000"),
    ("bpms_instance_change", "processInstanceId", 294315),
    ("user_add_org", "timeStamp", "1764057609000"),
    ("user_add_org", "userId", "0000133515112474"),
)
"""Fields, and a value of another type, as DingTalk itself would have it in one of its payload generations."""


@dataclass(frozen=True)
class Case:
    """A record for its class."""

    event_type: str
    record: dict[str, Any]
    sound: bool = True

    @property
    def class_name(self) -> str:
        """Of the generated class: the schema's title."""
        return str(payloads()[self.event_type]["title"])

    @property
    def text(self) -> str:
        return json.dumps(self.record, ensure_ascii=False)


@pytest.fixture(scope="module")
def cases(published: Published) -> list[Case]:
    """All published records of known types, and those with a retyped field."""
    found = [Case(name, value) for name in catalogue for value in published.values(name)]
    assert {case.event_type for case in found} == set(catalogue)
    for event_type, name, wrong in RETYPED:
        [record, *_] = published.values(event_type)
        assert name in record["data"]
        found.append(Case(event_type, record | {"data": record["data"] | {name: wrong}}, sound=False))
    return found


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a schema of each EventType."""
    folder = tmp_path_factory.mktemp("contract") / "schemas"
    write_schemas(folder)
    return folder


def with_python(schemas: Path, folder: Path) -> Sequence[str]:
    """datamodel-code-generator, in the environment of the example: none of our code is there."""
    found = example("Python")
    found.make_ready()
    options = ["--input-file-type", "jsonschema", "--use-title-as-name", "--formatters", "builtin"]
    options += ["--output-model-type", "pydantic_v2.BaseModel"]
    tools = found.folder / ".venv" / "bin"
    run(
        [str(tools / "datamodel-codegen"), "--input", str(schemas), *options, "--output", "models"],
        folder,
    )
    return [str(tools / "python"), "-I", str(DECODERS / "decode.py"), str(folder)]


def with_java(schemas: Path, folder: Path) -> Sequence[str]:
    """jsonschema2pojo, by the example's pom."""
    need("mvn", "javac")
    shutil.copy(EXAMPLES / "java" / "pom.xml", folder)
    sources = folder / "src" / "main" / "java"
    sources.mkdir(parents=True)
    shutil.copy(DECODERS / "Decode.java", sources)
    wanted = [f"-Dschemas={schemas}", "-Dwanted=*.json"]
    run(["mvn", "-B", "-q", *wanted, "compile", "dependency:copy-dependencies"], folder)
    return ["java", "-cp", "target/classes:target/lib/*", "Decode"]


def with_go(schemas: Path, folder: Path) -> Sequence[str]:
    """go-jsonschema, with the checks that it writes into its models."""
    need("go")
    shutil.copytree(DECODERS / "go", folder, dirs_exist_ok=True)
    paths = [str(path) for path in sorted(schemas.glob("*.json"))]
    run(["go", "tool", "go-jsonschema", "-p", "main", "-t", "-o", "models.go", *paths], folder)
    titles = sorted({schema["title"] for schema in payloads().values()})
    makers = "\n".join(f'"{title}": func() any {{ return new({title}) }},' for title in titles)
    (folder / "titles.go").write_text(f"package main\n\nvar models = map[string]func() any{{\n{makers}\n}}\n")
    run(["go", "build", "-o", "decode", "."], folder)
    return ["./decode"]


def instant(value: str | int) -> datetime:
    """A time as text or, as Java's Date is written, in milliseconds; cut to milliseconds."""
    if isinstance(value, int):
        return datetime.fromtimestamp(value / 1000, UTC)
    found = datetime.fromisoformat(value)
    return found.replace(microsecond=found.microsecond // 1000 * 1000)


def plain(value: Any) -> Any:
    """A decoded record as it came: Go keeps what is not in the schema under a name of its own."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    more = value.get("AdditionalProperties") or {}
    known = {name: item for name, item in value.items() if name != "AdditionalProperties"}
    return {name: plain(item) for name, item in (more | known).items()}


def with_instants(record: dict[str, Any]) -> dict[str, Any]:
    return record | {name: instant(record[name]) for name in ("time", "receivedtime")}


def outcomes(command: Sequence[str], folder: Path, cases: Sequence[Case]) -> Iterator[tuple[str, str]]:
    lines = "".join(f"{case.event_type}\t{case.class_name}\t{case.text}\n" for case in cases)
    for line in run(command, folder, lines).splitlines():
        word, _, rest = line.partition("\t")
        yield word, rest


@pytest.mark.parametrize("make", [with_python, with_java, with_go])
def test_generated_models_keep_every_record(
    make: Any, schemas: Path, cases: Sequence[Case], tmp_path: Path
) -> None:
    found = [*outcomes(make(schemas, tmp_path), tmp_path, cases)]
    faults = []
    for case, (word, rest) in zip(cases, found, strict=True):
        if case.sound != (word == "kept"):
            faults.append(f"{case.event_type}: {word} {rest[:300]}")
        elif case.sound and with_instants(plain(json.loads(rest))) != with_instants(case.record):
            faults.append(f"{case.event_type}: {case.text}\n  became {rest}")
    assert faults == []


def test_typescript_takes_every_record_for_its_type(
    schemas: Path, cases: Sequence[Case], tmp_path: Path
) -> None:
    """By its compiler: a record is a literal that must be of its type, a retyped one an expected error."""
    npm_install(EXAMPLES / "node")
    tools = EXAMPLES / "node" / "node_modules" / ".bin"
    run([str(tools / "json2ts"), "-i", f"{schemas}/*.json", "-o", "models"], tmp_path)
    lines = []
    for case in cases:
        lines += [] if case.sound else ["// @ts-expect-error"]
        of = f'import("./models/{case.event_type}.d.ts").{case.class_name}'
        lines.append(f"((record: {of}) => record)({case.text});")
    (tmp_path / "records.ts").write_text("\n".join([*lines, "export {};", ""]), encoding="utf-8")
    options = {"strict": True, "noEmit": True, "module": "nodenext", "target": "es2022", "types": []}
    config = {"compilerOptions": options, "include": ["records.ts"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    run([str(tools / "tsc"), "--pretty", "false"], tmp_path)
