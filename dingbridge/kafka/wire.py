"""Two requests of Kafka's protocol in the versions that return the client's rights: Metadata 8, which
aiokafka does not have, and DescribeGroups 3. Both only read."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

READ, WRITE, CREATE, DESCRIBE, DESCRIBE_CONFIGS = "READ", "WRITE", "CREATE", "DESCRIBE", "DESCRIBE_CONFIGS"
_BITS: Final = {READ: 3, WRITE: 4, CREATE: 5, DESCRIBE: 8, DESCRIBE_CONFIGS: 10}
_UNTOLD: Final = -(2**31)


def operations(bits: int) -> frozenset[str] | None:
    """What a client may do, from ``authorized_operations``; ``None`` if the broker does not return it."""
    return None if bits == _UNTOLD else frozenset(name for name, bit in _BITS.items() if bits >> bit & 1)


class MetadataResponse8(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8"))),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("authorized_operations", Int32),
    )


class MetadataRequest8(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = MetadataResponse8
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class Metadata(Request[MetadataRequest8]):  # type: ignore[misc]
    """Topics (all that are visible for ``None``) with our rights on each; creates none."""

    API_KEY = 3

    def __init__(self, topics: list[str] | None) -> None:
        self._topics = topics

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(self._topics, False, False, True)


class DescribeGroupsRequest3(DescribeGroupsRequest_v3):  # type: ignore[misc]
    """aiokafka's own (0.14) takes the answer for one of version 2."""

    RESPONSE_TYPE = DescribeGroupsResponse_v3


class DescribeGroups(Request[DescribeGroupsRequest3]):  # type: ignore[misc]
    """Consumer groups with our rights on each."""

    API_KEY = 15

    def __init__(self, groups: list[str]) -> None:
        self._groups = groups

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(self._groups, True)


async def describe_groups(
    admin: AIOKafkaAdminClient, groups: Sequence[str], brokers: Iterable[int]
) -> list[dict[str, Any]]:
    """Kafka's description of ``groups``, by each broker: one that is not a group's own gives an error."""
    described: list[dict[str, Any]] = []
    for node in brokers if groups else ():
        answer = await admin._send_request_to_node(node, DescribeGroups(list(groups)))
        described += answer.to_object()["groups"]
    return described
