"""Folders with a journal in them, and one step of pruning."""

import time

from ingress.journal.retention import Pruning
from ingress.journal.startup import open_newest
from ingress.journal.store import NewCallback


def fill(folder, count):
    file = open_newest(folder)
    now = int(time.time() * 1000)
    file.keep([NewCallback(now, "default", "http", b"%d" % n, b"key-%d" % n) for n in range(count)])
    return file


def prune_once(folder, file, retention):
    return Pruning(folder, retention).step(file)
