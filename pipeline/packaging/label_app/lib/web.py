"""The HTTP interface: MONAI Label's own endpoints, behind a gate.

It is put together from MONAI Label's routers, without those that packages do not need (slides of
pathology, reloading the app) and that write where a request says.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.middleware import Middleware
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, RedirectResponse
from monailabel.config import settings
from monailabel.endpoints import (
    activelearning,
    batch_infer,
    datastore,
    infer,
    info,
    logs,
    model,
    ohif,
    proxy,
    session,
    train,
)
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException
from monailabel.interfaces.utils.app import app_instance

from .gate import Account, Gate
from .parent import watch_parent
from .tasks import root_of
from .values import (
    HEADER,
    Refused,
    check_dicomweb,
    check_fields,
    check_header,
    check_upload,
    check_value,
)

logger = logging.getLogger(__name__)
ROUTERS = (
    *(info, model, infer, batch_infer, train, activelearning, datastore, logs, ohif, proxy),
    session,
)
# What is not allowed from outside, and what to do instead.
CLOSED = {
    r"(PUT|DELETE) /model/.*": "weights come with a package; serve another one",
    r"DELETE /datastore(/|/image/?)?": "delete the file in the folder of the studies",
}
PLAIN = frozenset({"params", "info", "wsi"})  # fields of a form that hold JSON


async def check_request(request: Request) -> None:
    """Refuse a request with a path or an expression in its address, query, form or JSON."""
    path = request.url.path
    for closed, instead in CLOSED.items():
        if re.fullmatch(closed, asked := f"{request.method} {path}"):
            raise HTTPException(403, f"{asked}: it is closed here; {instead}")
    try:
        check_fields(request.query_params.multi_items())
        if path.startswith("/proxy/"):
            if not settings.MONAI_LABEL_STUDIES.startswith(("http://", "https://")):
                raise HTTPException(404, "the studies are a folder; there is no DICOMweb server")
            if request.path_params["path"]:
                check_dicomweb(request.path_params["path"])
            return
        if path.startswith("/ohif/"):
            if ".." in path:
                raise Refused(f"{path}: it is a path; give a name")
            return
        check_fields(request.path_params.items())
        if path.startswith("/session") and request.query_params.get("uncompress"):
            raise Refused("uncompress: give the image itself; archives are not unpacked")
        await check_body(request)
        if request.method == "POST" and path.startswith("/train"):
            await check_training(request)
    except Refused as error:
        raise HTTPException(400, str(error)) from None


async def check_body(request: Request) -> None:
    """Check a form or a JSON, which the endpoint then finds read."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        for name, value in (await request.form()).multi_items():
            if not isinstance(value, str):
                check_upload(value.filename or "")
                check_header(await value.read(HEADER), value.filename or "")
                await value.seek(0)
            elif name in PLAIN:
                check_json(value, name)
            else:
                check_fields([(name, value)])
    elif body := await request.body():
        check_json(body, "the body")


async def check_training(request: Request) -> None:
    """Answer at once that there are too few labels, before a training writes it into a log."""
    instance, body = app_instance(), json.loads(await request.body() or "{}") or {}
    name = request.path_params.get("model")
    for each in [name] if name else instance.info()["trainers"]:
        if trainer := instance.trainer(each):
            try:
                count = len(instance.datastore().get_labeled_images())
                trainer.split(count, body if name else body.get(each, {}))
            except ValueError as error:
                raise Refused(f"{each}: {error}") from None


def check_json(text: str | bytes, name: str) -> None:
    """Check a JSON, which has to be an object."""
    try:
        content = json.loads(text or "{}")
    except ValueError as error:
        raise Refused(f"{name}: it is not JSON ({error})") from None
    if content is not None and not isinstance(content, dict):
        raise Refused(f"{name}: it is not a JSON object")
    check_value(content, name)


async def tell_reason(request: Request, error: Exception) -> JSONResponse:
    """Answer what went wrong, which MONAI Label only writes into its log."""
    first = root_of(error)
    told = str(getattr(first, "msg", None) or first) or type(first).__name__
    missing = isinstance(first, ImageNotFoundException | LabelNotFoundException)
    return JSONResponse({"detail": told[:2000]}, 404 if missing else 500)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    watch_parent()
    instance = app_instance()
    instance.server_mode(True)
    instance.on_init_complete()
    yield


def make_web() -> FastAPI:
    """Put the interface together, as the environment says."""
    account = Account(os.environ.get("LABEL_USER", ""), os.environ.pop("LABEL_PASSWORD", ""))
    origins = [origin for origin in os.environ.get("LABEL_ORIGINS", "").split() if origin]
    allowed = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_credentials=True,
        allow_methods=["*"],
        allow_headers=["*"],
    )
    gate = Middleware(
        Gate, account=account, origins=origins, anywhere=bool(os.environ.get("LABEL_ANY_HOST"))
    )
    app = FastAPI(
        title="MONAI Label",
        openapi_url=None,  # the description would load its viewer from the internet
        lifespan=lifespan,
        middleware=[gate, *([allowed] if origins else [])],
        exception_handlers={Exception: tell_reason},
    )
    for each in ROUTERS:
        app.include_router(each.router, dependencies=[Depends(check_request)])
    app.include_router(account.router())

    @app.get("/", include_in_schema=False)
    async def start() -> RedirectResponse:
        return RedirectResponse("/ohif/")

    return app


app = make_web()
