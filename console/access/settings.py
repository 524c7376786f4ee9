"""The settings of the way in: listener, names, a proxy in front, an OpenID provider, DingTalk's own login."""

from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from dingbridge.console.access.users import Role, UsersError, role_of
from dingbridge.outgoing.hosts import LOGIN, NEW_API, OLD_API, beside
from dingbridge.outgoing.proxy import mistakes
from dingbridge.settings import ApiBase, CommaList, NetworkList, Settings
from dingbridge.settings.base import UNREADABLE

_SHORTEST: Final = 16
"""Characters of the proxy's secret, at least."""


class AccessSettings(Settings):
    """Where the console listens, by which name, and whom it believes. Passwords need none of these."""

    console_host: str = "127.0.0.1"
    """where the console listens"""
    console_port: int = Field(8088, ge=0, le=65535)
    """its port; 0: any that is free"""
    console_names: CommaList = Field(default_factory=list)
    """names with a dot, with commas, by which browsers may ask for it, as `console.example.com`"""
    console_url: str | None = None
    """the console's own address as browsers know it, as `https://console.example.com`; needed for logins by
    OpenID and by DingTalk"""
    console_socket: Path | None = None
    """path of a Unix socket (mode 0660) to listen on for a proxy; then nothing listens on CONSOLE_PORT"""
    console_proxy_user_header: str | None = None
    """header in which a proxy names the user that it has checked; needs CONSOLE_SOCKET or
    CONSOLE_PROXY_SECRET"""
    console_proxy_role_header: str | None = None
    """header with that user's role: `viewer`, `reader`, `operator`; without one `viewer`"""
    console_proxy_secret: SecretStr | None = None
    """secret; what a proxy of TRUSTED_PROXIES sends in `X-Console-Proxy-Secret` so that its user header is
    believed"""
    trusted_proxies: NetworkList = Field(default_factory=list)
    """see The ingress"""
    console_oidc_issuer: str | None = None
    """an OpenID provider's issuer, as `https://login.example.com/realms/ops`"""
    console_oidc_client_id: str | None = None
    """what the console is called there"""
    console_oidc_client_secret: SecretStr | None = None
    """secret; of that client"""
    console_oidc_scopes: str = "openid"
    """what is asked for, with spaces, as `openid profile`"""
    console_oidc_name_claim: str = "sub"
    """claim that becomes the user's name in pages and audit; one that a person cannot change there"""
    console_oidc_role_claim: str = "roles"
    """claim with the role or roles, in the ID token or at userinfo; `a.b` is `b` in `a`"""
    console_oidc_roles: CommaList = Field(default_factory=list)
    """what the claim's values stand for, with commas, as `bridge-admins=operator,staff=viewer`; unset:
    `viewer`, `reader`, `operator` stand for themselves"""
    console_dingtalk_client_id: str | None = None
    """Client ID of the DingTalk app by which people log in; who may is in the users file, by unionid"""
    console_dingtalk_client_secret: SecretStr | None = None
    """secret; Client Secret of that app"""
    dingtalk_api_base: ApiBase = OLD_API
    """see DingTalk: the Open API"""
    dingtalk_new_api_base: ApiBase | None = None
    """see DingTalk: the Open API"""
    dingtalk_login_base: ApiBase | None = None
    """where DingTalk's login page is; unset: `https://login.dingtalk.com`, overseas
    `https://login.dingtalk.io`; of any other DINGTALK_API_BASE that one"""

    @field_validator("console_url", "console_oidc_issuer")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not _is_safe(value):
            raise ValueError(
                "must be https://host…, without a query; http to loopback or a name without a dot alone"
            )
        return value

    @property
    def own_origin(self) -> str:
        """Scheme, host and port of CONSOLE_URL; empty if unset."""
        return (self.console_url or "").rstrip("/")

    @property
    def own_names(self) -> list[str]:
        """The name of CONSOLE_URL, by which browsers may ask for the console."""
        return [name.lower()] if (name := urlsplit(self.own_origin).hostname) else []

    @property
    def dingtalk_hosts(self) -> tuple[str, str]:
        """Where DingTalk's login page is, and its newer API."""
        base = self.dingtalk_api_base
        return self.dingtalk_login_base or beside(base, LOGIN), self.dingtalk_new_api_base or beside(
            base, NEW_API
        )

    @property
    def roles_by_claim(self) -> dict[str, Role]:
        """The role that each value of the claim stands for. Raises ``UsersError``."""
        if not self.console_oidc_roles:
            return {role.name.lower(): role for role in Role}
        pairs = (item.rpartition("=") for item in self.console_oidc_roles)
        return {value.strip(): role_of(role) for value, _, role in pairs}

    def check(self) -> list[str]:
        problems = super().check()
        secret = _plain(self.console_proxy_secret)
        if self.console_proxy_user_header and not self.console_socket:
            if not secret:
                problems.append(
                    "CONSOLE_PROXY_USER_HEADER: any program on the proxy's machine could send it; set "
                    "CONSOLE_SOCKET to a Unix socket that the proxy alone may use, or CONSOLE_PROXY_SECRET "
                    "to what the proxy sends along"
                )
            if not self.trusted_proxies:
                problems.append(
                    "TRUSTED_PROXIES: needed, because only those are believed what "
                    "CONSOLE_PROXY_USER_HEADER says"
                )
        if secret and not secret.startswith(UNREADABLE) and len(secret) < _SHORTEST:
            problems.append(
                f"CONSOLE_PROXY_SECRET: must have {_SHORTEST} characters or more; `openssl rand -hex 32`"
            )
        if self.console_proxy_role_header and not self.console_proxy_user_header:
            problems.append("CONSOLE_PROXY_USER_HEADER: needed, because CONSOLE_PROXY_ROLE_HEADER is set")
        if self.console_oidc_issuer or self.console_dingtalk_client_id:
            problems += mistakes()
        for way in (_OIDC, _DINGTALK):
            missing = [name.upper() for name in way if not getattr(self, name)]
            if len(missing) == len(way):
                continue
            if not self.console_url:
                missing.append("CONSOLE_URL")
            problems += [f"{name}: needed for the login by {way[0].upper()}" for name in missing]
        if self.console_url and urlsplit(self.console_url).path not in ("", "/"):
            problems.append("CONSOLE_URL: must have no path; the console has its name for itself")
        if "openid" not in self.console_oidc_scopes.split():
            problems.append("CONSOLE_OIDC_SCOPES: must have openid among them")
        try:
            self.roles_by_claim  # noqa: B018 - raises for what is no role
        except UsersError as error:
            problems.append(f"CONSOLE_OIDC_ROLES: {error}; give value=role, with commas")
        return problems


_OIDC: Final = ("console_oidc_issuer", "console_oidc_client_id", "console_oidc_client_secret")
_DINGTALK: Final = ("console_dingtalk_client_id", "console_dingtalk_client_secret")


def _plain(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()


def _is_safe(address: str) -> bool:
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        if parts.query or parts.fragment or parts.username or parts.port == 0 or not host:
            return False
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_inside(host))


def _is_inside(host: str) -> bool:
    """Loopback, or a name without a dot: a service beside us."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return "." not in host
