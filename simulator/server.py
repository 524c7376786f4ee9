"""The simulator as a whole: one HTTP server that is DingTalk, with a company that lives in it.

Puts the parts together, and decides which events are pushed: those of registered tags, some of them twice.
"""

import asyncio
import signal
from random import Random
from typing import Any, Self

import structlog
from aiohttp import web

from bridge.errors import BridgeError
from simulator.activity import Activity, load_script
from simulator.api import ApprovalCalls, CallbackCalls, ContactCalls, OpenApi, json_answer
from simulator.control import Control
from simulator.errors import ActionError
from simulator.events import PlatformEvent, failed_item
from simulator.failed import FailedList, FailedRecords
from simulator.faults import Faults
from simulator.limits import Limits
from simulator.platform import Platform
from simulator.push import Push, Pusher
from simulator.registration import Callbacks
from simulator.scope import VisibleScope
from simulator.settings import SimulatorSettings
from simulator.tokens import AccessTokens

log = structlog.get_logger(__name__)


class Simulator:
    """``async with Simulator(settings) as simulator: … simulator.base_url``.

    Port 0 takes a free one. Raises ``SettingsError`` for a faulty script, ``BridgeError`` if the address
    cannot be bound.
    """

    def __init__(self, settings: SimulatorSettings | None = None) -> None:
        self.settings = settings = settings or SimulatorSettings.load()
        self.platform = Platform(
            seed=settings.simulator_seed,
            users=settings.simulator_users,
            departments=settings.simulator_departments,
            corp_id=settings.simulator_corp_id,
            generation=settings.simulator_generation,
        )
        self.failed = FailedList()
        self.records = FailedRecords()
        self.scope = VisibleScope(self.platform.company)
        self.faults = Faults()
        self.limits = Limits()
        self.pusher = Pusher(retry_scale=settings.simulator_retry_scale, on_failed=self._give_up)
        self.tokens = AccessTokens(settings.dingtalk_app_key, settings.dingtalk_app_secret.get_secret_value())
        self.callbacks = Callbacks(self.pusher, settings.owner_key, on_registered=self._registered)
        self.api = OpenApi(
            self.tokens,
            ContactCalls(self.platform.company, self.scope),
            ApprovalCalls(self.platform.approvals, self.platform.now_ms),
            CallbackCalls(self.callbacks, self.failed, self.records),
            faults=self.faults,
            limits=self.limits,
            act=self._act_if_possible,
        )
        script = load_script(settings.simulator_script) if settings.simulator_script else None
        self.activity = Activity(
            lambda action, arguments: len(self.act(action, arguments)[0]),
            lambda: len(self._push(self.platform.act_at_random())[0]),
            lambda: self.pusher.queued,
            rate=settings.simulator_rate,
            script=script,
        )
        self._noise = Random(settings.simulator_seed)  # noqa: S311
        app = web.Application(middlewares=[_unknown_path])
        app.add_routes([*self.api.routes(), *Control(self).routes()])
        # an end must be prompt: nobody's data depends on an answer that is still open
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        self.base_url = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        host, port = self.settings.simulator_host, self.settings.simulator_port
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise BridgeError(
                f"the simulator cannot listen on {host}:{port} ({error.strerror}); choose another with "
                "--host and --port, or SIMULATOR_HOST and SIMULATOR_PORT"
            ) from error
        await self.pusher.start()
        self.activity.start()
        shown = f"[{host}]" if ":" in host else host
        self.base_url = f"http://{shown}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """End at once. Pushes that are pending are forgotten: ``pusher.drain()`` first to deliver them."""
        await self.activity.stop()
        await self.pusher.stop()
        await self._runner.cleanup()

    def act(
        self, action: str, arguments: dict[str, Any] | None = None
    ) -> tuple[list[PlatformEvent], list[Push]]:
        """Make something happen now. Returns its events, and the pushes of those that somebody wants.

        Raises ``ActionError``, and nothing has changed.
        """
        return self._push(self.platform.act(action, arguments))

    def _act_if_possible(self, action: str, arguments: dict[str, Any]) -> None:
        """For a fault: the call that it belongs to goes on whatever becomes of the action."""
        try:
            self.act(action, arguments)
        except ActionError as error:
            log.warning("simulator.fault_not_acted", action=action, reason=str(error))

    def _push(self, events: list[PlatformEvent]) -> tuple[list[PlatformEvent], list[Push]]:
        pushes = []
        for event in events:
            if not self.callbacks.wants(event.event_type):
                continue
            if not self.limits.push(event.event_type):
                continue
            plaintext = event.plaintext()
            # DingTalk pushes some events twice, word for word
            again = self._noise.random() < self.settings.simulator_duplicates
            for _ in range(2 if again else 1):
                pushes.append(self.pusher.push(event.event_type, plaintext, event))
        return events, pushes

    def _give_up(self, push: Push) -> None:
        event = push.context
        if isinstance(event, PlatformEvent):
            self.failed.add(failed_item(event))
            self.records.add(event.event_type, push.plaintext, event.time_ms, event.corp_id)

    def _registered(self) -> None:
        log.info("simulator.callback_registered", tags=len(self.callbacks.get().tags))
        self.activity.begin()

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
            "failed_list": len(self.failed),
            "rate": self.activity.rate,
            "registered": self.callbacks.current is not None,
            "users": len(company.users),
            "departments": len(company.departments),
            "approvals_running": len(self.platform.approvals.running),
            "api_calls": dict(self.api.calls),
            "limits": self.limits.as_json(),
        }


@web.middleware
async def _unknown_path(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        return json_answer({"errcode": 404, "errmsg": "请求的URI地址不存在"}, 404)
    return response


async def serve(settings: SimulatorSettings) -> None:
    """Run until SIGTERM or SIGINT. Raises what ``Simulator`` raises."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Simulator(settings) as simulator:
        log.info(
            "simulator.listening",
            url=simulator.base_url,
            corp_id=settings.simulator_corp_id,
            app_key=settings.dingtalk_app_key,
            owner_key=settings.owner_key,
            users=len(simulator.platform.company.users),
            departments=len(simulator.platform.company.departments),
            rate=settings.simulator_rate,
        )
        await stop.wait()
        log.info("simulator.stopping", pending=simulator.pusher.pending)
