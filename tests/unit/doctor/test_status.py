"""``dingbridge status``: what is well, what is not, and what to do, from what was seen."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.cli.status import NOT_WELL, for_machines, for_people
from dingbridge.doctor import status
from dingbridge.doctor.checks import dead_letters, ingress
from dingbridge.doctor.findings import Both, read_words
from dingbridge.doctor.status import Seen
from dingbridge.kafka.group_lag import Group, TopicLag
from dingbridge.settings import KafkaSettings

WORDS = read_words("dingbridge.doctor")
WRITES = {"journal": {"takes_writes": True, "waiting": 2}}
LAG = {"t": TopicLag(13, 35.0)}


def running(**seen: Any) -> ingress.Seen:
    return ingress.Seen("", "http://127.0.0.1:8081", **{"ready": True, "details": WRITES, **seen})


WELL = Seen([running()], {"billing": Group(1, topics=LAG)})


def lines(seen: Seen, *wanted: str) -> dict[str, status.Line]:
    return {line.part: line for line in status.judge(seen, KafkaSettings(), wanted)}


def not_well(seen: Seen, *wanted: str) -> dict[str, list[str]]:
    return {
        part: [finding.code for finding in line.findings]
        for part, line in lines(seen, *wanted).items()
        if line.level(WORDS) in NOT_WELL
    }


def letters(**counts: int) -> dead_letters.Seen:
    return dead_letters.Seen(counts)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (WELL, {}),
        (Seen([running(absent=Both("refused", ""), ready=False)]), {"ingress": ["ingress.absent"]}),
        (Seen([running(ready=False)]), {"ingress": ["ingress.not_ready"]}),
        (Seen([running(parked={"forbidden": 3})]), {"ingress": ["relay.parked"]}),
        (Seen([running(oldest_s=61.0)]), {"ingress": ["relay.behind"]}),
        (Seen([running(relay={"state": "restarting"})]), {"ingress": ["relay.restarting"]}),
        (Seen([running()], failure=("unreachable", "no answer")), {"kafka": ["kafka.unreachable"]}),
        (Seen(groups={"billing": Group(0, topics=LAG)}), {"billing": ["consumer.no_member"]}),
        (
            Seen(groups={"billing": Group(1, topics={"t": TopicLag(1, 301.0)})}),
            {"billing": ["consumer.behind"]},
        ),
        (
            Seen(groups={"billing": Group(1), "approval": Group(1)}, letters=letters(billing=1)),
            {"billing": ["dead_letters.waiting"]},
        ),
    ],
    ids=str,
)
def test_what_is_not_well_is_named_at_its_part(seen: Seen, told: dict[str, list[str]]) -> None:
    assert not_well(seen) == told


def test_a_consumer_that_is_installed_only_is_well_unless_it_is_named() -> None:
    never = Seen(groups={"billing": Group(0, topics=LAG, began=False)})
    assert not_well(never) == {}
    assert lines(never)["billing"].figures["in_use"] is False
    assert not_well(never, "billing") == {"billing": ["consumer.no_member"]}
    assert not_well(Seen(groups=never.groups, letters=letters(billing=1))) != {}


def test_what_is_not_known_is_no_figure() -> None:
    silent = lines(Seen([running(absent=Both("refused", ""))]))["ingress"].figures
    assert {silent[name] for name in ("takes_writes", "waiting", "oldest_s", "parked")} == {None}
    for unread in ({"billing": "no right"}, {"*": "no answer"}):
        seen = Seen(groups={"billing": Group(1)}, letters=dead_letters.Seen({}, unread))
        assert lines(seen)["billing"].figures["letters"] is None


GROUPS = st.dictionaries(
    st.sampled_from(["billing", "approval"]),
    st.builds(
        Group,
        st.integers(0, 3),
        topics=st.builds(TopicLag, st.integers(0, 9), st.none() | st.floats(0, 1e6)).map(lambda t: {"t": t}),
        began=st.booleans(),
    ),
)
INGRESSES = st.lists(
    st.builds(
        running, ready=st.booleans(), oldest_s=st.floats(0, 1e6), parked=st.just({}) | st.just({"x": 1})
    ),
    max_size=2,
)


@given(st.builds(Seen, INGRESSES, GROUPS, st.builds(letters, billing=st.integers(0, 9))))
def test_each_line_that_is_not_well_has_a_remedy_in_both_languages(seen: Seen) -> None:
    for line in status.judge(seen, KafkaSettings()):
        for lang in ("en", "zh"):
            text = for_people(line, WORDS, lang)  # type: ignore[arg-type]
            assert ("\n" in text) == bool(line.findings)
            assert line.part in text.splitlines()[0]
            found = for_machines(line, WORDS, lang)  # type: ignore[arg-type]
            assert all(one["remedy"] and one["remedy"][:20] in text for one in found["findings"])
            assert found["level"] == line.level(WORDS)


@pytest.mark.parametrize(("lang", "page"), [("en", "operations.md"), ("zh", "operations.zh-CN.md")])
def test_the_guide_shows_what_it_prints(lang: Any, page: str) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guide" / page).read_text(encoding="utf-8")
    seen = Seen(
        [running(details={"journal": {"waiting": 0}})],
        {
            "address-sync": Group(2),
            "approval": Group(0, topics={"t": TopicLag(1204, 720.0)}),
            "outbound": Group(0, began=False),
        },
    )
    screen = "\n".join(for_people(line, WORDS, lang) for line in status.judge(seen, KafkaSettings()))
    assert f"<!-- status -->\n```text\n{screen}\n```" in guide
