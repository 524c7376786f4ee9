"""What a page lists is what its command is about: the same filter, whatever was typed."""

from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict
from typer.main import get_command

from dingbridge.cli.dlq import app
from dingbridge.cli.dlq.selection import dead_letter_filter
from dingbridge.console.selection import MOST_LETTERS, Selection, act_of

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
PLACE = st.builds("{}/{}".format, st.integers(0, 99), st.integers(0, 10**9))
TIME = st.sampled_from(["", "2h", "3d", "2026-11-25T08:00:00+08:00"])
TEXTS = st.fixed_dictionaries({"events": TEXT, "key": TEXT, "error_is": TEXT, "since": TIME, "until": TIME})


@st.composite
def forms(draw):
    letters = [("letter", place) for place in draw(st.lists(PLACE, max_size=5))]
    limit = str(draw(st.integers(0, 9999)))
    return MultiDict([("consumer", "billing"), *letters, ("limit", limit), *draw(TEXTS).items()])


def filter_of(argv):
    """The filter that ``dingbridge <argv>`` makes, and its other options."""
    verb = get_command(app).commands[argv[1]]
    options = verb.make_context(argv[1], list(argv[2:]), resilient_parsing=False).params
    names = ("events", "key", "error", "error_is", "since", "until", "letter")
    return dead_letter_filter(*(options.get(name) for name in names)), options


@given(form=forms(), act=st.sampled_from(["replay", "skip"]))
def test_the_command_means_what_the_page_shows(form, act):
    bound = Selection.of(form).fixed(NOW)
    for dry_run in (True, False):
        wanted, options = filter_of(bound.command(act, dry_run=dry_run).argv)
        assert wanted == bound.wanted()
        assert options["consumer"] == "billing"
        assert options["limit"] == int(form["limit"])
        assert (options["dry_run"], options["yes"]) == (dry_run, not dry_run)
    assert Selection.of(MultiDict(bound.fields)) == bound, "the form of confirmation says the same"


@given(form=forms())
def test_what_comes_later_is_not_meant(form):
    bound = Selection.of(form).fixed(NOW).wanted()
    assert bound.places or (bound.until is not None and bound.until <= NOW)


def test_two_hours_ago_becomes_a_time_that_stays():
    fixed = Selection("billing", since="2h").fixed(NOW)
    assert fixed.since.endswith("Z")
    since = fixed.wanted().since
    assert since is not None
    assert timedelta(0) <= datetime.now(UTC) - timedelta(hours=2) - since < timedelta(minutes=5)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"consumer": "--help"},
        {"consumer": "../x"},
        {"consumer": "billing", "since": "yesterday"},
        {"consumer": "billing", "limit": "-1"},
        {"consumer": "billing", "letter": "17"},
        {"consumer": "billing", "error_is": "a\0b"},
    ],
)
def test_what_cannot_be_a_selection_is_refused(fields):
    with pytest.raises(web.HTTPBadRequest):
        Selection.of(MultiDict(fields))


def test_more_letters_than_an_argument_list_should_hold_are_refused_with_the_remedy():
    def form(count):
        return MultiDict([("consumer", "x"), *(("letter", f"0/{n}") for n in range(count))])

    assert len(Selection.of(form(MOST_LETTERS)).letters) == MOST_LETTERS
    with pytest.raises(web.HTTPBadRequest) as refused:
        Selection.of(form(MOST_LETTERS + 1))
    assert "Filter by error" in str(refused.value.text)


def test_an_act_is_one_of_two():
    assert [act_of("replay"), act_of("skip")] == ["replay", "skip"]
    with pytest.raises(web.HTTPBadRequest):
        act_of("delete")
