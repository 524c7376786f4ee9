"""An OA and people change one entity at random while everything goes wrong that can: at the end every field
has its owner's last word, and nobody was told of what the OA did itself."""

from collections import Counter
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dingbridge.consumers.outbound.ledger import EXISTS
from tests.support.sizes import sized
from tests.unit.outbound.company import OWNERS, Entity, S

VALUES = {
    "user": {"title": "ABp", "remark": "ABq", "workPlace": "ABr"},
    "department": {"name": "ABp", "managers": ["u1", "u2", "u3"]},
}

faults = st.lists(
    st.tuples(
        st.sampled_from(
            ["none", "lost", "late", "unsent", "killed-before-commit", "killed-before-call", "killed-after"]
        ),
        st.integers(0, 40 * S),
    ),
    max_size=4,
)


def _value(kind: str, name: str, choice: int) -> Any:
    value = VALUES[kind][name][choice]
    return [value] if name == "managers" else value


def steps(kind: str) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    names = st.sampled_from([*VALUES[kind]])
    want = st.tuples(st.just("want"), st.lists(st.integers(0, 1), min_size=3, max_size=3))
    absent = st.tuples(st.just("absent"))
    edit = st.tuples(st.just("edit"), names, st.integers(0, 2), st.integers(0, 50 * S))
    exists = st.tuples(st.just("exists"), st.booleans(), st.integers(0, 50 * S))
    event = st.tuples(st.just("event"))
    replay = st.tuples(st.just("replay"), st.integers(0, 10))
    look = st.tuples(st.just("race"), names, st.integers(0, 2), faults)
    tick = st.tuples(st.just("tick"), st.sampled_from([1, 4, 30, 61, 130, 1200]), faults)
    return st.lists(st.one_of(want, edit, tick, tick, tick, look, event, replay, absent, exists), max_size=16)


def play(kind: Any, script: list[tuple[Any, ...]]) -> Entity:
    it = Entity(kind=kind)
    names = [*VALUES[kind]]
    for step in script:
        match step:
            case ("want", choices):
                fixed = {"name": "N"} if kind == "user" else {}
                it.want(fixed | {n: _value(kind, n, c) for n, c in zip(names, choices, strict=False)})
            case ("absent",):
                it.want(None)
            case ("edit", name, choice, delay):
                it.edit(name, _value(kind, name, choice), delay)
            case ("exists", value, delay):
                it.edit(EXISTS, value, delay)
            case ("event",):
                it.events.append(it.now_ms)
            case ("replay", index) if it.wanted:
                it.hear(it.wanted[index % len(it.wanted)])
            case ("race", name, choice, tape) if it.wanted:
                fault, lag = tape[0] if tape else ("none", 0)
                it.look(fault, lag, lambda n=name, c=choice: it.edit(n, _value(kind, n, c)))
            case ("tick", seconds, tape):
                it.tick(seconds * S, list(tape))
    it.settle()
    return it


def check(it: Entity) -> None:
    told = Counter((name, str(new)) for name, new, _ in it.changes)
    made = Counter((edit.name, str(edit.new)) for edit in it.edits)
    assert told <= made, "the OA was told of its own words, or of one change twice"
    assert it.standing() <= told, "a person's change was not told"
    twice = it.ids if it.kind == "department" else 0  # its managers are written when it is there
    assert it.written <= len(it.wanted) + len(it.edits) + twice, "more writes than words"
    if not it.wanted:
        assert it.written == 0
        return
    last = it.wanted[-1]
    if last.absent:
        assert it.truth is None or it.history[-1][1][0].ding_id.startswith("p"), "its own is there still"
        return
    assert it.truth is not None
    for name, value in last.fields.items():
        words = [edit.new for edit in it.edits if edit.name == name]
        match OWNERS.owner_of(it.kind, name):
            case "oa":
                assert it.truth.get(name) == value, name
            case "report":
                assert it.truth.get(name) in [value, *words], name


LATE = [  # a call without an answer is carried out when its desired state is no longer the last one
    ("want", [0, 0, 0]),
    ("tick", 130, []),
    ("want", [1, 1, 1]),
    ("race", "title", 2, [("late", 5_196)]),
    ("want", [0, 1, 0]),
    ("tick", 61, [("killed-after", 24_431), ("late", 38_637), ("killed-after", 36_697)]),
]
LOST = [
    ("want", [1, 0, 0]),
    ("tick", 130, []),
    ("want", [0, 1, 1]),
    ("tick", 1, [("lost", 34_104)]),
    ("want", [1, 0, 1]),
    ("tick", 4, [("killed-before-call", 38_680), ("lost", 32_780)]),
]


@example(LATE)
@example(LOST)
@settings(max_examples=sized(100, 5_000, quick=30), report_multiple_bugs=False)
@given(steps("user"))
def test_a_user_ends_as_its_owners_said(script: list[tuple[Any, ...]]) -> None:
    check(play("user", script))


@settings(max_examples=sized(60, 3_000, quick=20), report_multiple_bugs=False)
@given(steps("department"))
def test_a_department_ends_as_its_owners_said(script: list[tuple[Any, ...]]) -> None:
    check(play("department", script))
