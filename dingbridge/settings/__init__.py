"""Settings: read from the environment, checked together, before anything listens.

Every setting is an environment variable (the upper-case name of a field); a secret may stand in a file
instead, named by ``<NAME>_FILE``. Each process loads the one class that names what it needs, and imports it
from here. ``load`` reports *all* mistakes at once (``dingbridge/settings/base.py``). A module here knows what
a setting means, not its use. Each field has a docstring: ``docs/reference/settings.md`` is
made of them.
"""

from dingbridge.apps.model import SAMPLE_CREDENTIALS
from dingbridge.settings.apps import AppsSettings
from dingbridge.settings.base import CommaList, IntegerList, NetworkList, Settings
from dingbridge.settings.consumer import ConsumerSettings
from dingbridge.settings.consumer_limits import ConsumerLimits
from dingbridge.settings.database import DatabaseSettings
from dingbridge.settings.dingtalk import ApiBase, CallbackSettings, DingTalkApiSettings
from dingbridge.settings.ingress import IngressSettings, JournalSettings, PublisherSettings, RecoverySettings
from dingbridge.settings.kafka import KafkaSettings
from dingbridge.settings.log import LogSettings
from dingbridge.settings.tracing import TracingSettings

__all__ = [
    "SAMPLE_CREDENTIALS",
    "ApiBase",
    "AppsSettings",
    "CallbackSettings",
    "CommaList",
    "ConsumerLimits",
    "ConsumerSettings",
    "DatabaseSettings",
    "DingTalkApiSettings",
    "IngressSettings",
    "IntegerList",
    "JournalSettings",
    "KafkaSettings",
    "LogSettings",
    "NetworkList",
    "PublisherSettings",
    "RecoverySettings",
    "Settings",
    "TracingSettings",
]
