"""Who may ask: which hosts and origins, and with which password."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from .values import LOOPBACK

OPEN = ("/auth/", "/auth", "/auth/token")  # 3D Slicer asks here whether to ask for a password
DELAY = 1.0  # s after a wrong password


@dataclass
class Account:
    """The user and the password of a server; without a password it asks for none."""

    user: str
    password: str
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    def fits(self, user: str, password: str) -> bool:
        """Compare in a time that tells nothing."""
        is_user = secrets.compare_digest(user.encode(), self.user.encode())
        return secrets.compare_digest(password.encode(), self.password.encode()) and is_user

    def admits(self, header: str) -> bool:
        """Tell whether an ``Authorization`` holds the password, or the token that was given for it.

        Browsers and curl send the password (RFC 7617), 3D Slicer the token (RFC 6750).
        """
        kind, _, value = header.partition(" ")
        if kind.lower() == "bearer":
            return secrets.compare_digest(value.strip().encode(), self.token.encode())
        if kind.lower() != "basic":
            return False
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except ValueError:  # neither base64 nor UTF-8
            return False
        return self.fits(user, password)

    def router(self) -> APIRouter:
        """What 3D Slicer asks before it logs in."""
        router = APIRouter(prefix="/auth")

        @router.get("/")
        async def is_needed() -> dict[str, object]:
            return {"enabled": bool(self.password), "client_id": "", "realm": ""}

        @router.post("/token")
        async def give_token(username: str = Form(), password: str = Form()) -> dict[str, str]:
            if not (self.password and self.fits(username, password)):
                await asyncio.sleep(DELAY)
                raise HTTPException(401, "the user or the password is wrong")
            return {"access_token": self.token, "token_type": "bearer"}

        @router.get("/token/valid")
        async def is_valid() -> dict[str, str]:
            return {"username": self.user}

        return router


def is_near(client: tuple[str, int] | None) -> bool:
    """Tell whether a request comes from this machine; a proxy says for whom it asks."""
    try:
        address = ipaddress.ip_address(client[0]) if client else None
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address is None or address.is_loopback


class Gate:
    """ASGI middleware in front of everything.

    Args:
        app: what is behind it.
        account: who may ask.
        origins: addresses of other pages that may ask from a browser, such as ``https://a.org``.
        anywhere: the server may have any host name; else it has that of this machine or of
            ``origins``, so that no page of the internet can reach it by a name of its own
            (DNS rebinding).
    """

    def __init__(
        self, app: ASGIApp, *, account: Account, origins: Sequence[str], anywhere: bool
    ) -> None:
        self.app, self.account = app, account
        self.origins = frozenset(origins)
        self.hosts = None if anywhere else {*LOOPBACK, *(urlsplit(o).hostname for o in origins)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return None
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.hosts is not None and urlsplit(f"//{host}").hostname not in self.hosts:
            answer = JSONResponse(
                {"detail": f"host {host}: it is not this server's; see --origin"}, 403
            )
        elif origin and urlsplit(origin).netloc != host and origin not in self.origins:
            answer = JSONResponse(
                {"detail": f"origin {origin}: it is not allowed; see --origin"}, 403
            )
        elif not self.account.password and not is_near(scope.get("client")):
            told = "set LABEL_USER and LABEL_PASSWORD on the server, which others can reach"
            answer = JSONResponse({"detail": told}, 403)
        elif self.needs_password(scope) and not self.account.admits(
            headers.get("authorization", "")
        ):
            if "authorization" in headers:
                await asyncio.sleep(DELAY)
            answer = JSONResponse(
                {"detail": "give the user and the password"},
                401,
                {"WWW-Authenticate": 'Basic realm="MONAI Label", charset="UTF-8"'},
            )
        else:
            # The DICOMweb proxy would hand the password on.
            kept = [pair for pair in scope["headers"] if pair[0] != b"authorization"]
            return await self.app({**scope, "headers": kept}, receive, send)
        return await answer(scope, receive, send)

    def needs_password(self, scope: Scope) -> bool:
        """A preflight of a browser (CORS) never has one."""
        return bool(self.account.password) and (
            scope["path"] not in OPEN and scope["method"] != "OPTIONS"
        )
