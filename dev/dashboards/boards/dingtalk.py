"""The API's calls, what goes out to DingTalk, approvals, and failed pushes."""

from typing import Final

from dev.dashboards.panels import Dashboard, Panel
from dev.dashboards.promql import rate

DINGTALK: Final = Dashboard(
    uid="dingtalk",
    title="dingbridge: DingTalk",
    means="The other direction: calls of DingTalk's API, what the OA wants there, approvals, failed pushes.",
    variables={},
    rows={
        "API": (
            Panel(
                "Calls of this month",
                "number",
                {"{{priority}}, {{instance}}": "dingbridge_api_calls"},
                "Of those that DingTalk counts, by all processes that share a DATA_DIR.",
            ),
            Panel("Calls left", "number", {"for {{priority}}, {{instance}}": "dingbridge_api_calls_left"}),
        ),
        "Outbound": (
            Panel(
                "Results",
                "rate",
                {"{{result}}": rate("dingbridge_outbound_results_total", "result")},
                "Answers to what the OA wants.",
            ),
            Panel(
                "Open",
                "number",
                {"{{state}}": "max by (state) (dingbridge_outbound_entities)"},
                "dingbridge outbound status has the reasons.",
            ),
            Panel(
                "For how long something has waited",
                "seconds",
                "max(dingbridge_outbound_oldest_pending_seconds)",
                "Days of grace before a removal do not count.",
                red_above=86400,
            ),
            Panel(
                "Changes by people, and echoes",
                "rate",
                {
                    "{{verdict}}": rate("dingbridge_outbound_changes_total", "verdict"),
                    "echo": rate("dingbridge_outbound_echoes_total"),
                },
                "echo: an event that reported nothing but our own writes.",
            ),
        ),
        "Approvals": (
            Panel(
                "Actions",
                "rate",
                {
                    "{{outcome}}": rate("dingbridge_approval_actions_total", "outcome"),
                    "no action": rate("dingbridge_approval_without_action_total"),
                },
                "Of approvals that ended, by the outcome of their action.",
            ),
            Panel(
                "Attachments",
                "rate",
                {"{{outcome}}": rate("dingbridge_approval_attachments_total", "outcome")},
            ),
            Panel("Attachments waiting", "number", "max(dingbridge_approval_attachments_waiting)"),
            Panel(
                "Documents whose times are UTC",
                "number",
                "sum(dingbridge_approval_true_utc_times_total)",
                "Expected: none. DingTalk's times are China's clock whatever their Z says.",
            ),
        ),
        "Pushes that DingTalk gave up": (
            Panel(
                "Recovered",
                "rate",
                {"{{event_type}}": rate("dingbridge_recovery_items_total", "event_type")},
                "From the list of failed pushes.",
            ),
            Panel(
                "Since the list was last read",
                "seconds",
                "time() - max(dingbridge_recovery_last_success_timestamp_seconds > 0)",
                red_above=6 * 3600,
            ),
            Panel(
                "Pages that may be gone, and resync requests",
                "number",
                {
                    "pages": "sum(dingbridge_recovery_pages_missing_total)",
                    "resync requests": "sum(dingbridge_recovery_resync_requests_total)",
                },
            ),
        ),
    },
)
