"""The application: routes, errors, and what runs beside them."""

import contextlib
import logging
import secrets
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from broker_lite import VERSION
from broker_lite.config import Settings
from broker_lite.delivery.worker import Worker
from broker_lite.http import (
    routes_dashboard,
    routes_environments,
    routes_index,
    routes_matrix,
    routes_network,
    routes_openapi,
    routes_pacticipants,
    routes_pacts,
    routes_pages,
    routes_publish,
    routes_verification,
    routes_versions,
    routes_webhooks,
)
from broker_lite.http.call import Application, JsonResponse
from broker_lite.http.errors import HAL, JSON, NOT_FOUND_TEXT
from broker_lite.http.guard import Guard, Methods
from broker_lite.store.engine import Store, connect

logger = logging.getLogger("broker_lite")


_MODULES = (
    routes_index,
    routes_pacticipants,
    routes_versions,
    routes_environments,
    routes_publish,
    routes_verification,
    routes_pacts,
    routes_matrix,
    routes_dashboard,
    routes_webhooks,
    routes_network,
    routes_openapi,
)


def create_app(settings: Settings, store: Store | None = None, *, deliver: bool = True) -> FastAPI:
    """The ASGI application.

    Args:
        settings: the configuration.
        store: the database; opened from the settings if not given.
        deliver: whether to deliver webhooks.
    """
    database = store or Store(connect(settings.database_url))
    described = [one for module in _MODULES for one in module.routes.described]
    application = Application(settings, database, routes=described)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(database.migrate)
        worker = Worker(database, settings) if deliver else None
        if worker is not None:
            application.wake = worker.wake
            worker.start()
        logger.info("ready", extra={"version": VERSION, "database": database.engine.dialect.name})
        try:
            yield
        finally:
            if worker is not None:
                await run_in_threadpool(worker.stop)
            if store is None:
                database.close()

    app = FastAPI(title="broker-lite", version=VERSION, lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    app.state.application = application
    app.add_middleware(Methods, table=[one for module in _MODULES for one in module.routes.table])
    app.add_middleware(Guard, settings=settings)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _server_error)
    # First, since they are for those requests only that ask for a page; all others pass them by.
    app.router.routes.extend(routes_pages.pages.routes)
    for module in _MODULES:
        app.include_router(module.routes.router)
    return app


async def _http_error(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        return Response(status_code=405, headers=error.headers if isinstance(error, HTTPException) else None)
    return JsonResponse({"error": NOT_FOUND_TEXT}, 404, JSON)


async def _server_error(_request: Request, error: Exception) -> Response:
    reference = secrets.token_urlsafe(8)
    logger.error("request failed", extra={"reference": reference}, exc_info=error)
    text = f"An error has occurred. The details have been logged with the reference {reference}"
    return JsonResponse({"error": {"message": text, "reference": reference}}, 500, HAL)
