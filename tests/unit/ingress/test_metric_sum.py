"""The page of several workers says what one process that had done all of it would say."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ingress.metric_sum import Pages, merge


def page(work):
    registry = CollectorRegistry()
    counter = Counter("dingbridge_callbacks", "c", ["outcome"], registry=registry)
    seconds = Histogram("dingbridge_answer_seconds", "h", buckets=(0.1, 1), registry=registry)
    oldest = Gauge("dingbridge_journal_oldest_waiting_seconds", "g", registry=registry)
    free = Gauge("dingbridge_journal_free_bytes", "g", registry=registry)
    for outcome, took in work:
        counter.labels(outcome).inc()
        seconds.observe(took)
    oldest.set(max((took for _, took in work), default=0))
    free.set(10_000 - len(work))
    return generate_latest(registry).decode()


def samples(text):
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
        if not s.name.endswith(("_created", "free_bytes"))
    }


work = st.lists(
    st.tuples(st.sampled_from(["kept", "duplicate", 'od"d {}']), st.sampled_from([0.25, 0.5, 2.0]))
)


@given(st.lists(work, min_size=1, max_size=4))
def test_the_merged_page_is_the_page_of_all_the_work(parts):
    together = [item for part in parts for item in part]
    assert samples(merge(page(part) for part in parts)) == samples(page(together))


def test_free_space_is_the_least_and_age_the_largest():
    merged = merge([page([("kept", 2.0)]), page([])])
    assert "dingbridge_journal_free_bytes 9999" in merged
    assert "dingbridge_journal_oldest_waiting_seconds 2" in merged


def kept(pages):
    return samples(merge(pages)).get(("dingbridge_callbacks_total", (("outcome", "kept"),)), 0)


def test_what_was_counted_does_not_fall_while_a_worker_is_silent_or_starts_again():
    one, two = Pages(), Pages()
    steady = two.read(two.life, page([("kept", 1.0)] * 50))
    assert kept([*one.read(one.life, page([("kept", 1.0)] * 50)), *steady]) == 100
    silent = merge([*one.read(one.life, None), *steady])
    assert kept([silent]) == 100
    assert samples(silent)[("dingbridge_answer_seconds_count", ())] == 100
    one.ended()
    assert kept([*one.read(one.life, None), *steady]) == 100
    assert kept([*one.read(one.life, page([("kept", 1.0)] * 3)), *steady]) == 103
    one.ended()
    one.ended()
    assert kept([*one.read(one.life, page([("kept", 1.0)])), *steady]) == 104


def test_how_a_silent_worker_was_says_nothing_of_how_it_is():
    pages = Pages()
    pages.read(pages.life, page([("kept", 2.0)]))
    assert "oldest_waiting" not in merge(pages.read(pages.life, None))
    pages.ended()
    assert "free_bytes" not in merge(pages.read(pages.life, None))


def test_a_page_that_comes_after_its_worker_has_ended_counts_once():
    pages = Pages()
    life = pages.life
    pages.read(life, page([("kept", 1.0)] * 5))
    pages.ended()
    assert kept(pages.read(life, page([("kept", 1.0)] * 6))) == 5
    assert kept(pages.read(pages.life, page([("kept", 1.0)]))) == 6
