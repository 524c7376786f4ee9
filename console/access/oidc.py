"""Login by an OpenID provider: OpenID Connect Core 1.0, the authorization code flow, with PKCE.

Endpoints and keys are asked of the provider at each login (Discovery 1.0): logins are rare, and whatever it
changes counts at once. What it signed is verified by joserfc.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote_plus, urlsplit

import aiohttp
import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry
from yarl import URL

from dingbridge.console.access.provider import Begun, LoginRefused, ProviderError, ask, word
from dingbridge.console.access.settings import AccessSettings
from dingbridge.console.access.users import Role, User

log = structlog.get_logger(__name__)

LIFETIME_S: Final = 3600.0
"""A session's: no change of a role is notified, and who still has one comes back without typing anything."""
ALGORITHMS: Final = [
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "Ed25519", "EdDSA"),
]
"""By keys that only the provider has."""
_LEEWAY_S: Final = 60


class Oidc:
    """The provider of CONSOLE_OIDC_ISSUER."""

    name = "oidc"
    lifetime_s = LIFETIME_S
    in_file = False

    def __init__(self, settings: AccessSettings) -> None:
        self._settings = settings
        self._issuer = settings.console_oidc_issuer or ""
        self._client_id = settings.console_oidc_client_id or ""
        self.title = urlsplit(self._issuer).hostname or ""

    async def address(self, begun: Begun, back: str) -> str:
        """See ``Provider``."""
        endpoint = _address((await self._endpoints()), "authorization_endpoint")
        return str(
            URL(endpoint).update_query(
                response_type="code",
                client_id=self._client_id,
                redirect_uri=back,
                scope=self._settings.console_oidc_scopes,
                state=begun.state,
                nonce=begun.nonce,
                code_challenge=begun.challenge,
                code_challenge_method="S256",
            )
        )

    async def user(self, query: Mapping[str, str], begun: Begun, back: str) -> User:
        """See ``Provider``."""
        if query.get("iss", self._issuer) != self._issuer:  # RFC 9207
            raise LoginRefused("login.unproved", provider=self.title)
        if "error" in query or not query.get("code"):
            raise LoginRefused("login.refused_there", provider=self.title, code=word(query.get("error")))
        endpoints = await self._endpoints()
        tokens = await self._tokens(endpoints, query["code"], begun, back)
        claims = await self._verified(endpoints, tokens.get("id_token"), begun.nonce)
        role_claim, name_claim = (
            self._settings.console_oidc_role_claim,
            self._settings.console_oidc_name_claim,
        )
        if "userinfo_endpoint" in endpoints and None in (
            _claim(claims, role_claim),
            _claim(claims, name_claim),
        ):
            claims = {**await self._userinfo(endpoints, tokens, claims), **claims}
        name = _claim(claims, name_claim)
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 64:
            raise LoginRefused("login.no_name", provider=self.title, claim=name_claim)
        role = self._role(_claim(claims, role_claim))
        if role is None:
            raise LoginRefused("login.no_role", who=name, provider=self.title, claim=role_claim)
        return User(f"oidc:{name}", role)

    async def _endpoints(self) -> dict[str, Any]:
        where = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        status, values = await ask("GET", where)
        if status != 200 or values.get("issuer") != self._issuer:
            raise ProviderError(f"{where} answers {status}, and not for the issuer {self._issuer}")
        if self._issuer.startswith("https:"):  # a secret is sent there
            for name, value in values.items():
                if name.endswith(("_endpoint", "jwks_uri")) and not str(value).startswith("https:"):
                    raise ProviderError(f"{where}: {name} is no https address")
        return values

    async def _tokens(
        self, endpoints: Mapping[str, Any], code: str, begun: Begun, back: str
    ) -> dict[str, Any]:
        """What the code is exchanged for (Core, 3.1.3)."""
        secret = self._settings.console_oidc_client_secret
        password = secret.get_secret_value() if secret is not None else ""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back,
            "code_verifier": begun.verifier,
        }
        methods = endpoints.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        request: dict[str, Any] = {"data": form}
        if "client_secret_basic" in methods:  # both encoded as in a form: RFC 6749, 2.3.1
            basic = aiohttp.encode_basic_auth(quote_plus(self._client_id), quote_plus(password))
            request["headers"] = {"Authorization": basic}
        else:
            form |= {"client_id": self._client_id, "client_secret": password}
        status, values = await ask("POST", _address(endpoints, "token_endpoint"), **request)
        if values.get("error") == "invalid_grant":
            raise LoginRefused("login.code_over", provider=self.title)
        if status != 200:
            raise ProviderError(
                f"the token endpoint of {self._issuer} answers {status} {word(values.get('error'))}"
            )
        return values

    async def _verified(self, endpoints: Mapping[str, Any], token: object, nonce: str) -> dict[str, Any]:
        """The claims of the ID token (Core, 3.1.3.7)."""
        _, keys = await ask("GET", _address(endpoints, "jwks_uri"))
        rules = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._client_id},
            nonce={"essential": True, "value": nonce},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            azp={"value": self._client_id},
        )
        try:
            header = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
            claims = jwt.decode(str(token), KeySet.import_key_set(keys), ALGORITHMS, header).claims  # type: ignore[arg-type]
            rules.validate(claims)
        except (JoseError, ValueError, TypeError, KeyError, OverflowError) as error:
            log.warning("console.id_token_refused", error=type(error).__name__, issuer=self._issuer)
            raise LoginRefused("login.unproved", provider=self.title) from None
        return claims

    async def _userinfo(
        self, endpoints: Mapping[str, Any], tokens: Mapping[str, Any], claims: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Further claims, of the same person (Core, 5.3)."""
        bearer = {"Authorization": f"Bearer {tokens.get('access_token')}"}
        status, more = await ask("GET", _address(endpoints, "userinfo_endpoint"), headers=bearer)
        if status != 200 or more.get("sub") != claims["sub"]:
            raise ProviderError(f"userinfo of {self._issuer} answers {status}, or about somebody else")
        return more

    def _role(self, value: object) -> Role | None:
        """The highest that one of the claim's values stands for."""
        known = self._settings.roles_by_claim
        values = value if isinstance(value, list) else [value]
        return max((known[one] for one in values if isinstance(one, str) and one in known), default=None)


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """By its whole name, which may have dots, else by the way to it."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _address(endpoints: Mapping[str, Any], name: str) -> str:
    value = endpoints.get(name)
    if not isinstance(value, str) or not value.startswith(("https://", "http://")):
        raise ProviderError(f"the provider's configuration has no {name}")
    return value
