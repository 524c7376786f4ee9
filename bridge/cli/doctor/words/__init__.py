"""What each code of a finding means, in English and Chinese side by side."""

from collections.abc import Mapping
from typing import Final

from bridge.cli.doctor.findings import Words
from bridge.cli.doctor.words.edge import INGRESS, OWNER, URL
from bridge.cli.doctor.words.kafka_and_disk import DISK, KAFKA
from bridge.cli.doctor.words.ours import CLOCK, SETTINGS
from bridge.cli.doctor.words.platform import API, FAILED, QUOTA, TAGS

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
