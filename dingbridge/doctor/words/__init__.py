"""What each code of a finding means, in English and Chinese side by side."""

from collections.abc import Mapping
from typing import Final

from dingbridge.doctor.findings import Words
from dingbridge.doctor.words.edge import INGRESS, OWNER, URL
from dingbridge.doctor.words.kafka_and_disk import DISK, KAFKA
from dingbridge.doctor.words.ours import CLOCK, SETTINGS
from dingbridge.doctor.words.platform import API, FAILED, QUOTA, TAGS

WORDS: Final[Mapping[str, Words]] = {
    **SETTINGS,
    **CLOCK,
    **URL,
    **INGRESS,
    **OWNER,
    **KAFKA,
    **DISK,
    **API,
    **TAGS,
    **FAILED,
    **QUOTA,
}
