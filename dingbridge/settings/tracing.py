"""The settings of traces: OpenTelemetry's own names, as its specification has them.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
Its SDK reads further ones by itself: service name, headers, certificates, time limits, sizes of queue and
batch.
"""

from importlib.util import find_spec

from pydantic import Field

from dingbridge.settings.base import Settings


class TracingSettings(Settings):
    """Where a consumer's traces go, and of how many events."""

    otel_exporter_otlp_endpoint: str | None = None
    """where traces are sent by OTLP over HTTP, as `http://collector:4318`; unset: there are none. Needs
    the extra `dingbridge[otel]`. OpenTelemetry's other `OTEL_EXPORTER_OTLP_*`, `OTEL_BSP_*` and
    `OTEL_SERVICE_NAME` (unset: `dingbridge-<consumer>`) hold too"""
    otel_traces_sampler_arg: float = Field(0.01, ge=0, le=1)
    """the share of events that are traced, by their id: consumers with the same share trace the same ones"""

    def check(self) -> list[str]:
        problems = super().check()
        if self.otel_exporter_otlp_endpoint and not _installed():
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
