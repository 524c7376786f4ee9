"""An OpenID provider that says whatever a test wants."""

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from joserfc import jwt
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from dingbridge.console.access.provider import _base64

KEY = ECKey.generate_key("P-256", {"kid": "1", "use": "sig", "alg": "ES256"})
OTHER_KEY = ECKey.generate_key("P-256", {"kid": "1"})


@dataclass
class FakeProvider:
    """Its answers; ``claims`` are changed and ``None`` taken away before they are signed."""

    issuer: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    key: Any = field(default_factory=lambda: KEY)
    userinfo: dict[str, Any] = field(default_factory=dict)
    configuration: dict[str, Any] = field(default_factory=dict)
    token: str | None = None
    """Instead of one that is signed."""
    status: int = 200
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """Until it is set, nobody is told the endpoints; ``asking``: how many ask for them."""
    asking: int = 0

    def code(self, query: dict[str, str]) -> str:
        """What the browser brings back for an address that it was led to."""
        code = f"code-{len(self.codes)}"
        self.codes[code] = query
        return code

    async def discovery(self, request: web.Request) -> web.Response:
        paths = {"authorization": "auth", "token": "token", "userinfo": "me"}
        found = {f"{name}_endpoint": f"{self.issuer}/{path}" for name, path in paths.items()}
        found |= {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks"}
        self.asking += 1
        await self.open.wait()
        self.asking -= 1
        return web.json_response({**found, **self.configuration}, status=self.status)

    async def exchange(self, request: web.Request) -> web.Response:
        form = await request.post()
        begun = self.codes.pop(str(form.get("code")), None)
        proof = _base64(sha256(str(form.get("code_verifier")).encode()).digest())
        if begun is None or begun["code_challenge"] != proof or begun["redirect_uri"] != form["redirect_uri"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        self.asked.append(request.headers.get("Authorization", f"form {form.get('client_secret')}"))
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": "u-1", "aud": "console", "iat": now, "exp": now + 60}
        claims |= {"nonce": begun["nonce"], "roles": ["viewer"], **self.claims}
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "ES256", "kid": "1", **self.header}
        registry = JWSRegistry(algorithms=[header["alg"]], strict_check_header=False)
        if header["alg"] == "HS256":
            signed = forged(header, claims)
        else:
            signed = self.token or jwt.encode(header, claims, self.key, registry=registry)
        return web.json_response({"id_token": signed, "access_token": "a", "token_type": "Bearer"})

    async def jwks(self, request: web.Request) -> web.Response:
        others = [{"kty": "of tomorrow", "kid": "9"}]
        return web.json_response({"keys": [*others, KEY.as_dict(private=False)]})

    async def me(self, request: web.Request) -> web.Response:
        return web.json_response({"sub": "u-1", **self.userinfo})


def forged(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Signed by what everybody knows: the public key's text as a secret, which joserfc refuses."""
    text = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{_base64(hmac.digest(KEY.as_pem(private=False), text.encode(), 'sha256'))}"


@asynccontextmanager
async def provider() -> AsyncIterator[FakeProvider]:
    fake = FakeProvider()
    fake.open.set()
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", fake.discovery)
    app.router.add_post("/token", fake.exchange)
    app.router.add_get("/jwks", fake.jwks)
    app.router.add_get("/me", fake.me)
    async with TestServer(app) as server:
        fake.issuer = str(server.make_url("")).rstrip("/")
        yield fake
