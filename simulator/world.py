"""The simulated company and all that runs around it: what happens is recorded, and pushed.

Puts the parts together. Not here: how all of it is reached over HTTP (``server.py``).
"""

import asyncio
from dataclasses import replace
from typing import Any, Literal

import structlog

from dingbridge.simulator.activity import Activity, load_script
from dingbridge.simulator.api import (
    ApprovalCalls,
    CallbackCalls,
    ContactCalls,
    OpenApi,
    WorkflowCalls,
    WriteCalls,
)
from dingbridge.simulator.api.login import PersonalLogin
from dingbridge.simulator.call import Call
from dingbridge.simulator.company.actions.base import Written
from dingbridge.simulator.company.events import PlatformEvent
from dingbridge.simulator.company.platform import Platform, now_ms
from dingbridge.simulator.company.scope import VisibleScope
from dingbridge.simulator.company.sight import Sight
from dingbridge.simulator.errors import ActionError
from dingbridge.simulator.faults import Faults
from dingbridge.simulator.limits import Limits
from dingbridge.simulator.profile import Profile
from dingbridge.simulator.pushes.delivery import Delivery
from dingbridge.simulator.pushes.failed import FailedList
from dingbridge.simulator.pushes.gateway import Gateway
from dingbridge.simulator.pushes.push import Push, Pusher
from dingbridge.simulator.pushes.registration import Callbacks
from dingbridge.simulator.recording import RecordedStep, Recording, Replay
from dingbridge.simulator.rights import Rights
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.simulator.tokens import AccessTokens

log = structlog.get_logger(__name__)


class World:
    """One company on one DingTalk. With ``replay``, the company of a recording lives again instead of one by
    the settings. Raises ``SettingsError`` for a faulty script.
    """

    def __init__(self, settings: SimulatorSettings | None = None, *, replay: Replay | None = None) -> None:
        self.settings = settings = settings or SimulatorSettings.load()
        self.replay = replay
        self.profile = Profile.parse(settings.simulator_profile)
        start = replay.recording if replay is not None else _beginning(settings)
        self.platform = Platform(
            seed=start.seed,
            users=start.users,
            departments=start.departments,
            corp_id=start.corp_id,
            generation=start.generation,
            clock=now_ms if replay is None else replay.clock,
            past_approvals=settings.simulator_approvals if replay is None else 0,
        )
        self.recording = replace(start, began_ms=self.platform.began_ms, before=None, steps=[])
        self.platform.on_step = self._stepped
        self.scope = VisibleScope(self.platform.company, self.profile, start.seed)
        self.sight = Sight(self.platform, self.recording, self.profile)
        self.faults = Faults()
        self.sight.fault_lag_ms = self.faults.lag_ms
        self.limits = Limits()
        self.pusher = Pusher(
            retry_scale=settings.simulator_retry_scale, on_failed=lambda push: self.delivery.give_up(push)
        )
        key, secret = settings.dingtalk_app_key, settings.dingtalk_app_secret.get_secret_value()
        self.gateway = Gateway(key, secret, seed=start.seed, on_opened=self._opened)
        self.callbacks = Callbacks(self.pusher, settings.owner_key, on_registered=self._registered)
        self.set_mode(settings.simulator_mode)
        self.delivery = Delivery(
            self.pusher,
            self.callbacks,
            self.limits,
            seed=start.seed,
            duplicates=start.duplicates,
            reorder=start.reorder,
        )
        self.tokens = AccessTokens(key, secret, profile=self.profile)
        self.rights = Rights(self.tokens, self.profile, key)
        self.login = PersonalLogin(key, secret, self.platform.company.users)
        self.writes = WriteCalls(
            self.platform.writes,
            self.write,
            contacts=self.platform.contact_writes,
            departments=self.platform.company.departments,
            approvals=self.platform.approvals,
            scope=self.scope,
            sight=self.sight,
            now_ms=self.platform.now_ms,
            seed=start.seed,
        )
        self.api = OpenApi(
            self.tokens,
            ApprovalCalls(self.platform.past, self.sight, self.platform.company.users, self.platform.now_ms),
            ContactCalls(self.platform.company, self.scope, self.sight),
            WorkflowCalls(self.platform.company, self.platform.todos),
            self.writes,
            CallbackCalls(self.callbacks, self.delivery.failed, self.delivery.records),
            gateway=self.gateway,
            faults=self.faults,
            limits=self.limits,
            rights=self.rights,
            login=self.login,
            act=self._act_if_possible,
        )
        script = load_script(settings.simulator_script) if settings.simulator_script else None
        self.activity = Activity(
            lambda action, arguments: len(self.act(action, arguments)[0]),
            self.act_at_random,
            lambda: self.pusher.queued,
            rate=settings.simulator_rate,
            script=script,
        )
        self._replaying: asyncio.Task[None] | None = None

    async def live(self) -> None:
        """Begin to push, and to act by itself."""
        await self.pusher.start()
        self.gateway.start()
        self.activity.start()
        if self.replay is not None:
            self.replay.prologue(self._act_again)

    async def end(self) -> None:
        """End at once. Pushes that are pending are forgotten: ``pusher.drain()`` first to deliver them."""
        if self._replaying is not None:
            self._replaying.cancel()
            await asyncio.gather(self._replaying, return_exceptions=True)
        await self.activity.stop()
        self.delivery.stop()
        await self.pusher.stop()
        await self.gateway.stop()

    @property
    def mode(self) -> Literal["http", "stream"]:
        """How events are pushed."""
        return "http" if self.pusher.stream is None else "stream"

    def set_mode(self, mode: Literal["http", "stream"]) -> None:
        """At once, retries included; connections and registration stay as they are. What DingTalk does with
        what is under way when its console is set to the other is not documented."""
        self.pusher.stream = self.gateway if mode == "stream" else None
        self.platform.shape.stream = mode == "stream"
        if any(connection.events for connection in self.gateway.connections):
            self._opened()

    @property
    def failed(self) -> FailedList:
        """What ``get_call_back_failed_result`` reads."""
        return self.delivery.failed

    def act(
        self, action: str, arguments: dict[str, Any] | None = None
    ) -> tuple[list[PlatformEvent], list[Push]]:
        """Make something happen now. Returns its events, and the pushes of those that somebody wants.

        Raises ``ActionError``, and nothing has changed.
        """
        events = self.platform.act(action, arguments)
        return events, self.delivery.send(events)

    def write(self, path: str, call: Call, delay_s: float = 0.0) -> Written:
        """A call of the Open API writes; its events are pushed in ``delay_s``. Raises ``PlatformError``."""
        written = self.platform.write(path, call)
        self.delivery.send(written.events, delay_s)
        return written

    def act_at_random(self) -> int:
        """Something happens by itself. Returns how many events it made."""
        events = self.platform.act_at_random()
        self.delivery.send(events)
        return len(events)

    def _act_again(self, step: RecordedStep) -> None:
        self.delivery.send(self.platform.repeat(step))

    def _stepped(self, step: RecordedStep, events: list[PlatformEvent]) -> None:
        self.sight.changed(step, events)
        self.recording.add(step)

    def _act_if_possible(self, action: str, arguments: dict[str, Any]) -> None:
        """For a fault, which goes on whatever happens to the action."""
        try:
            self.act(action, arguments)
        except ActionError as error:
            log.warning("simulator.not_acted", action=action, reason=str(error))

    def _registered(self) -> None:
        log.info("simulator.callback_registered", tags=len(self.callbacks.get().tags))
        self._begin()

    def _opened(self) -> None:
        if self.mode == "stream":
            log.info("simulator.stream_opened", connections=len(self.gateway.connections))
            self._begin()

    def _begin(self) -> None:
        """Whether events have a receiver: a callback is registered, or a connection is open."""
        self.recording.registered()
        self.activity.begin()
        if self.replay is not None and self._replaying is None:
            self._replaying = asyncio.create_task(self.replay.run(self._act_again))

    def halt(self) -> None:
        """Nothing happens by itself any more."""
        self.activity.halt()
        if self._replaying is not None:
            self._replaying.cancel()

    def state(self) -> dict[str, Any]:
        """The whole company, each entity as the Open API shows it; approvals with their ``process_code`` and
        ``process_instance_id`` beside."""
        company, approvals = self.platform.company, self.platform.approvals
        current = self.callbacks.current
        return {
            "corp_id": self.platform.corp_id,
            "callback": {"url": current.target.url, "call_back_tag": current.tags} if current else None,
            "departments": [company.department_result(d) for d in company.departments.values()],
            "users": [company.user_result(u) for u in company.users.values()],
            "role_groups": company.roles.groups_result(),
            "admins": [{"userid": u, "sys_level": level} for u, level in company.roles.admins.items()],
            "visible_scope": self.scope.result(),
            "refused": self.scope.refused(),
            "todos": list(self.platform.todos.all.values()),
            "approvals": [
                {
                    "process_instance_id": a.instance_id,
                    "process_code": a.process_code,
                    **approvals.result(a),
                }
                for a in approvals
            ],
        }

    def stats(self) -> dict[str, Any]:
        company = self.platform.company
        return {
            **self.pusher.stats(),
            "failed_list": len(self.delivery.failed),
            "failed_unlisted": self.delivery.unlisted,
            "failed_records": len(self.delivery.records),
            "rate": self.activity.rate,
            "mode": self.mode,
            "registered": self.callbacks.current is not None,
            "connections": len(self.gateway.connections),
            "users": len(company.users),
            "departments": len(company.departments),
            "approvals_running": len(self.platform.approvals.running),
            "api_calls": dict(self.api.calls),
            "limits": self.limits.as_json(),
            "profile": self.profile.as_json(),
            "deliveries": self.delivery.as_json(),
            "recorded": len(self.recording.steps),
            "replay": self.replay and {"steps": len(self.replay.recording.steps), "done": self.replay.done},
        }


def _beginning(settings: SimulatorSettings) -> Recording:
    return Recording(
        seed=settings.simulator_seed,
        users=settings.simulator_users,
        departments=settings.simulator_departments,
        corp_id=settings.simulator_corp_id,
        generation=settings.simulator_generation,
        duplicates=settings.simulator_duplicates,
        reorder=0.0,
        began_ms=0,
    )
