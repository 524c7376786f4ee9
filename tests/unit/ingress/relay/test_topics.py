"""Which topic a record goes to: names from outside do not mint topics without bounds."""

import pytest

from dingbridge.errors import TopicError
from dingbridge.events import Received, to_records
from dingbridge.ingress.relay.messages import InboxMissing, TopicRouter
from tests.unit.ingress.relay.fakes import body, settings


def record(event_type):
    return to_records(Received(1, "j", 1, "default", "http", body(1, event_type)))[0]


async def test_a_topic_that_is_refused_again_and_again_counts_once_against_the_limit(kafka):
    """Else, after a hundred retries of what is parked, all new types would go to the unclassified topic."""
    router = TopicRouter(settings(), 2)
    await router.load()
    for _ in range(100):
        await router.ensure("dingtalk.brand_new", again=True)
    assert router.topic(record("newer_still")) == "dingtalk.newer_still"
    await router.ensure("dingtalk.newer_still")
    assert router.topic(record("one_too_many")) == "dingtalk.unclassified"
    assert router.topic(record("brand_new")) == "dingtalk.brand_new"


async def test_an_inbox_is_never_made_here_and_is_found_once_its_consumer_has_run(kafka):
    router = TopicRouter(settings(), 2)
    await router.load()
    inbox = "ctl-dingtalk.inbox.billing"
    with pytest.raises(InboxMissing, match="RESYNC_CONSUMERS"):
        await router.ensure(inbox)
    assert inbox not in kafka.topics
    kafka.topics.add(inbox)
    await router.ensure(inbox)
    assert issubclass(InboxMissing, TopicError)
