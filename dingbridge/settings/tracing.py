"""The settings of traces: OpenTelemetry's own names, as its specification has them.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
Its exporter reads further ones by itself: headers, certificates, time limits, sizes of queue and batch.
"""

from importlib.util import find_spec
from typing import Literal

from pydantic import Field

from dingbridge.settings.base import Settings


class TracingSettings(Settings):
    """Where a consumer's traces go, and of how many events."""

    otel_exporter_otlp_endpoint: str | None = None
    """where traces are sent by OTLP over HTTP, as `http://collector:4318`; unset: there are none. Needs
    the extra `dingbridge[otel]`. OpenTelemetry's other `OTEL_EXPORTER_OTLP_*` and `OTEL_BSP_*` hold too"""
    otel_exporter_otlp_traces_endpoint: str | None = None
    """the same, as the whole address with its path"""
    otel_exporter_otlp_protocol: Literal["http/protobuf"] = "http/protobuf"
    """no other is sent; collectors take it at port 4318"""
    otel_sdk_disabled: bool = False
    """no traces, whatever else is set"""
    otel_service_name: str | None = None
    """the service in all spans; unset: `dingbridge-<consumer>`"""
    otel_traces_sampler: Literal[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ] = "parentbased_traceidratio"
    """which events are traced, by their id: consumers with the same share trace the same ones"""
    otel_traces_sampler_arg: float = Field(0.01, ge=0, le=1)
    """the share of events that are traced, with a sampler of a ratio"""

    @property
    def traced(self) -> bool:
        """Whether there are traces at all."""
        endpoint = self.otel_exporter_otlp_endpoint or self.otel_exporter_otlp_traces_endpoint
        return bool(endpoint) and not self.otel_sdk_disabled

    @property
    def sampling_ratio(self) -> float:
        """The share of events that are traced, 0 to 1."""
        sampler = self.otel_traces_sampler.removeprefix("parentbased_")
        return {"always_on": 1.0, "always_off": 0.0}.get(sampler, self.otel_traces_sampler_arg)

    def check(self) -> list[str]:
        problems = super().check()
        if self.traced and not _installed():
            problems.append(
                "OTEL_EXPORTER_OTLP_ENDPOINT: traces need OpenTelemetry, which is not installed here: "
                "install dingbridge[otel], from the wheel or index that dingbridge came from, or unset it"
            )
        return problems


def _installed() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False
