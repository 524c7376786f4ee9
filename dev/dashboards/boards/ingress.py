"""Answers to DingTalk, the journal, Stream mode, and the relay's way into Kafka."""

from typing import Final

from dev.dashboards.panels import Dashboard, Panel
from dev.dashboards.promql import KNOWN, quantiles, rate

INGRESS: Final = Dashboard(
    uid="ingress",
    title="dingbridge: ingress",
    means="Answers to DingTalk, the journal's disk, Stream connections, and the relay's way into Kafka.",
    variables={},
    rows={
        "Answers": (
            Panel(
                "Time to the answer",
                "seconds",
                quantiles("dingbridge_answer_seconds"),
                "Callbacks answered success. DingTalk waits 1.5 s.",
            ),
            Panel(
                "Refusals",
                "rate",
                {
                    "{{outcome}}: {{reason}}": rate(
                        "dingbridge_callbacks_total",
                        "outcome",
                        "reason",
                        where='{outcome=~"forbidden|malformed|too_large|not_found|unavailable"}',
                    )
                },
                "forbidden with another reason than signature: refused, although DingTalk signed it.",
            ),
            Panel(
                "Callbacks by EventType",
                "rate",
                {"{{event_type}}": rate("dingbridge_callbacks_total", "event_type", where=KNOWN)},
            ),
            Panel(
                "Since the last callback",
                "seconds",
                {"{{instance}}": "time() - (dingbridge_last_callback_timestamp_seconds > 0)"},
            ),
            Panel(
                "Our clock minus DingTalk's",
                "seconds",
                {"{{instance}}": "dingbridge_clock_skew_seconds"},
                "By the last signed push; some seconds are the push's own way.",
            ),
            Panel(
                "Apps file has mistakes",
                "yes or no",
                {"{{instance}}": "dingbridge_apps_file_rejected"},
                "The last valid content stays in force. The log has apps.rejected, with the place.",
                red_above=1,
            ),
            Panel(
                "Data that differs from the catalogue",
                "rate",
                {"{{type}}, {{kind}}": rate("dingbridge_schema_drift_total", "type", "kind")},
                "Published all the same. dingbridge schema drift names the fields.",
            ),
        ),
        "Journal": (
            Panel(
                "Time of a commit",
                "seconds",
                quantiles("dingbridge_journal_commit_seconds"),
                "With its fsync.",
            ),
            Panel(
                "Callbacks in a commit",
                "number",
                quantiles("dingbridge_journal_group_size"),
                "More at once under load: one fsync for all of them.",
            ),
            Panel(
                "Takes writes",
                "yes or no",
                {"{{instance}}": "dingbridge_journal_writable"},
                "While it does not, the answer is 503.",
                red_below=1,
            ),
            Panel(
                "Commits that the disk refused",
                "number",
                {"{{error}}": "sum by (error) (dingbridge_journal_failures_total)"},
            ),
            Panel("Size of the journal", "bytes", {"{{instance}}": "dingbridge_journal_bytes"}),
            Panel("Free disk under it", "bytes", {"{{instance}}": "dingbridge_journal_free_bytes"}),
            Panel(
                "Journals put aside",
                "number",
                {
                    "folders, {{instance}}": "dingbridge_journal_damaged_folders",
                    "callbacks that cannot be read, {{instance}}": "dingbridge_journal_unreadable",
                },
            ),
            Panel("Waiting for Kafka", "number", {"{{instance}}": "dingbridge_journal_waiting"}),
        ),
        "Into Kafka": (
            Panel(
                "Failed sends",
                "rate",
                {"{{error}}": rate("dingbridge_kafka_errors_total", "error")},
                "They are tried again; nothing is lost by them.",
            ),
            Panel("Restarts of the relay", "number", {"{{instance}}": "dingbridge_relay_restarts_total"}),
        ),
        "Stream mode": (
            Panel("Open connections", "number", {"{{app}}, {{instance}}": "dingbridge_stream_connections"}),
            Panel(
                "Since the last frame",
                "seconds",
                {"{{app}}, {{instance}}": "time() - (dingbridge_stream_last_frame_timestamp_seconds > 0)"},
            ),
            Panel(
                "Connections opened again",
                "rate",
                {"{{app}}: {{reason}}": rate("dingbridge_stream_reconnects_total", "app", "reason")},
                "disconnect is DingTalk's own: it renews each now and then.",
            ),
            Panel(
                "Times without any connection",
                "number",
                {"{{app}}": "sum by (app) (dingbridge_stream_gaps_total)"},
                "The consumers resync after each.",
            ),
        ),
    },
)
