"""When the failed list is read."""

from dingbridge.ingress.recovery.apps import Timer


def test_after_a_start_then_every_so_often():
    timer = Timer(every_s=3600, after_outage_s=300, now=0)
    assert not timer.due(299, well=True)
    assert timer.due(300, well=True)
    timer.ended(300, well=True)
    assert not timer.due(3899, well=True)
    assert timer.due(3900, well=True)


def test_after_the_journal_takes_writes_again():
    timer = Timer(every_s=3600, after_outage_s=300, now=0)
    timer.ended(0, well=True)
    assert not timer.due(4000, well=False)
    assert not timer.due(5000, well=False)
    assert not timer.due(5299, well=True)
    assert timer.due(5300, well=True)


def test_after_a_failure_soon_and_then_later_and_later():
    timer = Timer(every_s=3600, after_outage_s=300, now=0)
    now = 300
    for delay in (300, 600, 1200, 2400, 3600, 3600):
        timer.ended(now, well=False)
        assert not timer.due(now + delay - 1, well=True)
        now += delay
        assert timer.due(now, well=True)
    timer.ended(now, well=True)
    assert not timer.due(now + 3599, well=True)
    assert timer.due(now + 3600, well=True)
