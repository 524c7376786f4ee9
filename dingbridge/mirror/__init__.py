"""Consumers whose tables equal DingTalk's data, with late answers and deletions handled."""

from dingbridge.mirror.look_again import Entity, look_again_table
from dingbridge.mirror.mirror import Answer, Mirror
from dingbridge.mirror.people import people_table

__all__ = ["Answer", "Entity", "Mirror", "look_again_table", "people_table"]
