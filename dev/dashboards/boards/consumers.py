"""Every consumer, by its name; and the systems that forward hands events to."""

from typing import Final

from dev.dashboards.panels import Dashboard, Panel
from dev.dashboards.promql import ONE, quantile, rate

CONSUMERS: Final = Dashboard(
    uid="consumers",
    title="dingbridge: consumers",
    means="What each consumer has handled, what waits for it, and how fresh its data is.",
    variables={"consumer": "label_values(dingbridge_consumer_joined, consumer)"},
    rows={
        "Freshness": (
            Panel(
                "From receipt to handled, p99",
                "seconds",
                {
                    "{{consumer}}, {{family}}": quantile(
                        0.99, "dingbridge_consumer_freshness_seconds", "consumer", "family", where=ONE
                    )
                },
                "What came by itself; replays do not count.",
            ),
            Panel(
                "The same, p50",
                "seconds",
                {
                    "{{consumer}}, {{family}}": quantile(
                        0.5, "dingbridge_consumer_freshness_seconds", "consumer", "family", where=ONE
                    )
                },
            ),
            Panel(
                "DingTalk's own delay, p99",
                "seconds",
                {"{{family}}": quantile(0.99, "dingbridge_dingtalk_delay_seconds", "family")},
                "From the time that DingTalk gives an event to its receipt. Not in our hands.",
            ),
            Panel(
                "Since the last full comparison",
                "seconds",
                {
                    "{{consumer}}": "time() - max by (consumer)"
                    f" (dingbridge_consumer_full_comparison_timestamp_seconds{ONE} > 0)"
                },
                "With everything that DingTalk has.",
            ),
        ),
        "What waits": (
            Panel(
                "Records behind",
                "number",
                {"{{consumer}}": f"sum by (consumer) (dingbridge_consumer_lag{ONE})"},
            ),
            Panel(
                "Age of the oldest record that waits",
                "seconds",
                {
                    "{{consumer}}, {{topic}}": f"max by (consumer, topic)"
                    f" (dingbridge_consumer_oldest_seconds{ONE})"
                },
            ),
            Panel(
                "Dependencies that are down",
                "number",
                {"{{consumer}}": f"max by (consumer) (dingbridge_consumer_unavailable_dependencies{ONE})"},
                "A database, DingTalk's API for an app, or another system. /readyz names them.",
            ),
            Panel(
                "For how long, at most",
                "seconds",
                {"{{consumer}}": f"max by (consumer) (dingbridge_consumer_paused_seconds{ONE})"},
            ),
            Panel(
                "Partitions that are full",
                "number",
                {"{{consumer}}": f"sum by (consumer) (dingbridge_consumer_paused_partitions{ONE})"},
                "Not fetched, since they hold so much that is not finished.",
            ),
            Panel(
                "Records deleted before they were read",
                "number",
                {
                    "{{consumer}}, {{topic}}": "sum by (consumer, topic)"
                    f" (dingbridge_consumer_skipped_offsets_total{ONE})"
                },
                "Since the start, by the topic's retention. Compare with DingTalk.",
            ),
            Panel(
                "In memory",
                "number",
                {"{{consumer}}, {{instance}}": f"dingbridge_consumer_in_flight{ONE}"},
                "Records fetched and not finished.",
            ),
            Panel(
                "Their size",
                "bytes",
                {"{{consumer}}, {{instance}}": f"dingbridge_consumer_in_flight_bytes{ONE}"},
            ),
            Panel(
                "Finished, behind an unfinished record",
                "number",
                {
                    "{{consumer}}, {{topic}}": f"sum by (consumer, topic)"
                    f" (dingbridge_consumer_uncommittable_offsets{ONE})"
                },
                "Cannot be committed yet. Above 0 in ordinary work.",
            ),
            Panel(
                "Unfinished records that block commits",
                "seconds",
                {"{{consumer}}, {{topic}}/{{partition}}": f"dingbridge_consumer_holder_seconds{ONE}"},
                "For more than 10 s. consumer.retry in the log names the record by this hash of its key.",
            ),
        ),
        "Work": (
            Panel(
                "Records finished",
                "rate",
                {
                    "{{consumer}}, {{topic}}: {{outcome}}": rate(
                        "dingbridge_consumer_events_total", "consumer", "topic", "outcome", where=ONE
                    )
                },
            ),
            Panel(
                "Attempts",
                "rate",
                {
                    "{{consumer}}: {{outcome}}": rate(
                        "dingbridge_consumer_attempts_total", "consumer", "outcome", where=ONE
                    )
                },
            ),
            Panel(
                "Time of an attempt, p99",
                "seconds",
                {
                    "{{consumer}}": quantile(
                        0.99, "dingbridge_consumer_handler_seconds", "consumer", where=ONE
                    )
                },
                "prepare, transaction and handle.",
            ),
            Panel(
                "Dead letters",
                "number",
                {
                    "{{consumer}}, {{topic}}": "sum by (consumer, topic)"
                    f" (dingbridge_consumer_dead_letters_total{ONE})"
                },
            ),
            Panel(
                "In its group",
                "yes or no",
                {"{{consumer}}, {{instance}}": f"dingbridge_consumer_joined{ONE}"},
                red_below=1,
            ),
            Panel(
                "Topics have equal partition counts",
                "yes or no",
                {"{{consumer}}, {{instance}}": f"dingbridge_consumer_key_queues_aligned{ONE}"},
                "Else order per key holds within each topic only.",
                red_below=1,
            ),
        ),
        "address-sync and other mirrors": (
            Panel(
                "Reads that are due",
                "number",
                {"{{priority}}": "max by (priority) (dingbridge_mirror_due)"},
                "0: hires and leavers, 1: other events, 2: full syncs.",
            ),
            Panel(
                "People who may have left, to be confirmed",
                "number",
                {"{{instance}}": "dingbridge_mirror_leavers_waiting"},
                "Beyond the day's limit. If they did leave: dingbridge resync --confirm-leavers N.",
                red_above=0,
            ),
            Panel(
                "Longest overdue read of an event",
                "seconds",
                {"{{instance}}": "dingbridge_mirror_oldest_seconds"},
                "Of a hire, a leaver or another event.",
            ),
            Panel(
                "Left of a full sync",
                "number",
                {"{{instance}}": "dingbridge_mirror_sync_left"},
                "Of those that are known.",
            ),
            Panel(
                "Not read",
                "number",
                {"{{kind}}": "max by (kind) (dingbridge_mirror_not_read)"},
                "They stay as they were; the log names them (mirror.not_read).",
            ),
            Panel(
                "Time between two full syncs",
                "seconds",
                {"planned": "max(dingbridge_mirror_sync_every_seconds)"},
                "RECONCILE_EVERY_DAYS; 0: none but the first.",
            ),
        ),
        "forward": (
            Panel(
                "Requests to systems",
                "rate",
                {
                    "{{system}}: {{outcome}} {{status}}": rate(
                        "dingbridge_forward_deliveries_total", "system", "outcome", "status"
                    )
                },
                "filtered: events that made none.",
            ),
            Panel(
                "Time of a request, p99",
                "seconds",
                {"{{system}}": quantile(0.99, "dingbridge_forward_seconds", "system")},
            ),
            Panel(
                "Systems that take nothing",
                "yes or no",
                {"{{system}}": "max by (system) (dingbridge_forward_paused)"},
                "Their events wait in Kafka.",
                red_above=1,
            ),
        ),
    },
)
