"""``Console``: what pages get, and how its parts are joined. ``server.py`` serves it."""

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from dingbridge.console.access.dingtalk import DingTalk
from dingbridge.console.access.middleware import Access
from dingbridge.console.access.middleware import require as require
from dingbridge.console.access.oidc import Oidc
from dingbridge.console.access.provider import Provider
from dingbridge.console.access.sessions import Sessions
from dingbridge.console.access.users import Role, User, UsersFile
from dingbridge.console.acts import Acts
from dingbridge.console.audit import Audit
from dingbridge.console.commands import Commands
from dingbridge.console.index.feed import Feed
from dingbridge.console.index.search import Search
from dingbridge.console.index.store import Index
from dingbridge.console.line.window import INGRESS
from dingbridge.console.page import page
from dingbridge.console.render import Render
from dingbridge.console.settings import ConsoleSettings
from dingbridge.console.sources.databases import Databases
from dingbridge.console.sources.doctor import Doctor
from dingbridge.console.sources.journals import Journals
from dingbridge.console.sources.kafka import AskKafka
from dingbridge.console.sources.listeners import Listeners
from dingbridge.console.times import zone_of
from dingbridge.console.watch import Watch
from dingbridge.settings import KafkaSettings
from dingbridge.tasks import first_ended
from dingbridge.worker.registry import installed_consumers

__all__ = ["Console", "Role", "User", "open_console", "require"]


@dataclass(frozen=True, slots=True)
class Console:
    """Everything a page may use. A page module has ``routes(console) -> list[web.RouteDef]``."""

    settings: ConsoleSettings
    kafka: KafkaSettings
    ask_kafka: AskKafka
    index: Index
    feed: Feed
    search: Search
    listeners: Listeners
    watch: Watch
    doctor: Doctor
    journals: Journals
    databases: Databases
    commands: Commands
    acts: Acts
    audit: Audit
    users: UsersFile
    access: Access
    providers: tuple[Provider, ...]
    render: Render

    async def page(
        self, request: web.Request, template: str, *, status: int = 200, **values: Any
    ) -> web.Response:
        """The page for this person, in their language; ``values`` are the template's."""
        zone, silent = zone_of(request, self.settings), self.ask_kafka.silent_since
        return page(self.render, request, template, zone, status=status, kafka_silent_since=silent, **values)

    async def start(self) -> None:
        """Open what is read from. Raises ``BridgeError``; a source that is down is not one."""
        await self.listeners.start()
        self.index.open()
        await self.feed.start()
        await self.watch.start()

    async def run(self) -> None:
        """Wait until a task that the console needs ends, and raise ``BridgeError`` then. ``start`` first."""
        await first_ended([*filter(None, [self.feed.task]), *self.watch.tasks])

    async def stop(self) -> None:
        await self.acts.stop()
        await self.watch.stop()
        await self.doctor.stop()
        await self.ask_kafka.stop()
        await self.feed.stop()
        self.index.close()
        await self.databases.close()
        await self.listeners.stop()


def open_console(settings: ConsoleSettings) -> Console:
    """The parts, joined; nothing is connected yet."""
    audit = Audit(settings.audit_file)
    commands = Commands(audit)
    users = UsersFile(settings.users_file)
    listeners = Listeners(settings.listeners)
    index = Index(settings.index_file)
    feed = Feed(settings, index)
    ask_kafka = AskKafka(settings, feed_answered_at=lambda: feed.answered_at)
    databases = Databases(settings.database_url_of)
    watch = Watch(settings, listeners, ask_kafka, feed, index, databases)
    return Console(
        settings=settings,
        kafka=settings,
        ask_kafka=ask_kafka,
        index=index,
        feed=feed,
        search=Search(settings, index, ask_kafka),
        listeners=listeners,
        watch=watch,
        doctor=Doctor(_parts_here(settings), watch.dead_letters),
        journals=Journals(settings.journals),
        databases=databases,
        commands=commands,
        acts=Acts(commands),
        audit=audit,
        users=users,
        access=Access(settings, Sessions(users), audit),
        providers=_providers(settings, users),
        render=Render(),
    )


def _providers(settings: ConsoleSettings, users: UsersFile) -> tuple[Provider, ...]:
    found: list[Provider] = []
    if settings.console_oidc_issuer:
        found.append(Oidc(settings))
    if settings.console_dingtalk_client_id:
        found.append(DingTalk(settings, users))
    return tuple(found)


def _parts_here(settings: ConsoleSettings) -> tuple[str, ...]:
    """What the doctor looks at: the ingress, where it is on this host, and the consumers that run here."""
    own = f"http://{settings.admin_host}:{settings.admin_port}"
    installed = [one.name for one in installed_consumers() if one.consumer is not None]
    consumers = settings.console_consumers or installed
    return (*([INGRESS] if (INGRESS, own) in settings.listeners else []), *consumers)
