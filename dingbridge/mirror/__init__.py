"""Consumers whose tables equal DingTalk's data, with late answers, deletions and full syncs handled."""

from dingbridge.mirror.entities import DEPARTMENT, USER, Entities, Entity, entities_table
from dingbridge.mirror.kind import Gone, Kind, Written
from dingbridge.mirror.mirror import Mirror
from dingbridge.mirror.people import people_table

__all__ = [
    "DEPARTMENT",
    "USER",
    "Entities",
    "Entity",
    "Gone",
    "Kind",
    "Mirror",
    "Written",
    "entities_table",
    "people_table",
]
