"""Consumers whose tables equal what DingTalk says: late answers and deletions right."""

from dingbridge.mirror.look_again import Entity, look_again_table
from dingbridge.mirror.mirror import Answer, Mirror
from dingbridge.mirror.people import people_table

__all__ = ["Answer", "Entity", "Mirror", "look_again_table", "people_table"]
