"""The line from DingTalk to the systems, and what asks for somebody."""

from typing import Final

from dev.dashboards.panels import Dashboard, Panel
from dev.dashboards.promql import KNOWN, quantiles, rate

OVERVIEW: Final = Dashboard(
    uid="overview",
    title="dingbridge: overview",
    means="The line from DingTalk to the systems: what comes, what waits, what went wrong.",
    variables={},
    rows={
        "DingTalk → journal → Kafka → consumers": (
            Panel(
                "Callbacks answered success",
                "rate",
                rate("dingbridge_callbacks_total", where=KNOWN),
                "Per second, repeats included.",
                now=True,
            ),
            Panel(
                "Waiting in the journal",
                "number",
                "sum(dingbridge_journal_waiting)",
                "Kept, and not in Kafka yet.",
                now=True,
            ),
            Panel(
                "Oldest of them",
                "seconds",
                "max(dingbridge_journal_oldest_waiting_seconds)",
                "More than seconds: Kafka takes nothing, or too little.",
                now=True,
                red_above=60,
            ),
            Panel(
                "Kafka takes records",
                "yes or no",
                "min(dingbridge_kafka_connected)",
                "As every ingress that answers sees it. Callbacks are kept and answered meanwhile.",
                now=True,
                red_below=1,
            ),
            Panel(
                "Records that consumers are behind",
                "number",
                "sum(dingbridge_consumer_lag)",
                "All consumers together.",
                now=True,
                red_above=1000,
            ),
            Panel(
                "Oldest record that waits for a consumer",
                "seconds",
                "max(dingbridge_consumer_oldest_seconds)",
                "Its age in Kafka.",
                now=True,
                red_above=900,
            ),
        ),
        "Objectives, as docs/guide/operations.md has them": (
            Panel(
                "Answers that came too late, or were none",
                "share",
                {
                    "1 h": "dingbridge:answers_failed:ratio_rate1h",
                    "3 d": "dingbridge:answers_failed:ratio_rate3d",
                },
                "After 1.5 s DingTalk counts a push as failed. Objective: at most 0.1 % in 30 days.",
                red_above=0.001,
            ),
            Panel(
                "Events handled later than 30 s after receipt",
                "share",
                {
                    "{{consumer}}, 1 h": "dingbridge:consumer_late:ratio_rate1h",
                    "{{consumer}}, 3 d": "dingbridge:consumer_late:ratio_rate3d",
                },
                "Objective: at most 1 % in 30 days, for each consumer.",
                red_above=0.01,
            ),
        ),
        "Rates": (
            Panel(
                "Callbacks by outcome",
                "rate",
                {"{{outcome}} by {{via}}": rate("dingbridge_callbacks_total", "outcome", "via")},
                "kept and duplicate were answered success; unavailable 503, and DingTalk tries again.",
            ),
            Panel(
                "Records in Kafka",
                "rate",
                {"{{event_type}}": rate("dingbridge_published_total", "event_type")},
                "Acknowledged, by EventType.",
            ),
            Panel(
                "Records finished",
                "rate",
                {
                    "{{consumer}}, {{outcome}}": rate(
                        "dingbridge_consumer_events_total", "consumer", "outcome"
                    )
                },
                "done: handled; seen: a repeat, dropped by the inbox; dead: in the dead letters.",
            ),
            Panel(
                "From receipt to Kafka",
                "seconds",
                quantiles("dingbridge_publish_lag_seconds"),
                "Of the oldest callback of each batch.",
            ),
        ),
        "What asks for somebody": (
            Panel(
                "Dead letters",
                "number",
                {
                    "{{consumer}}, {{topic}}": "sum by (consumer, topic)"
                    " (dingbridge_consumer_dead_letters_total)",
                },
                "Since each consumer's start. dingbridge dlq list shows them, dlq replay sends them back.",
            ),
            Panel(
                "Alerts that fire",
                "number",
                {
                    "{{alertname}}": "sum by (alertname)"
                    ' (ALERTS{alertstate="firing", alertname=~"Dingbridge.+"})'
                },
                "By deploy/prometheus/rules.yml; docs/guide/operations.md has the runbook of each.",
            ),
            Panel(
                "Parked records",
                "number",
                {"{{reason}}": "sum by (reason) (dingbridge_parked)"},
                "Kafka refuses these records. dingbridge journal stats lists them.",
            ),
            Panel(
                "Callbacks that could not be normalised",
                "number",
                {"{{reason}}": "sum by (reason) (dingbridge_unclassified_total)"},
                "Since each ingress's start; they are in the unclassified topic with their bytes.",
            ),
        ),
    },
)
