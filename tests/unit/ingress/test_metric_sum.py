"""The page of several workers says what one process that had done all of it would say."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ingress.metric_sum import merge


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
