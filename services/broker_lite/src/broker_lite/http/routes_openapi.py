"""The description of the API."""

from fastapi import Response

from broker_lite.http import openapi
from broker_lite.http.call import Call, JsonResponse, Routes
from broker_lite.http.errors import JSON

routes = Routes()


# The suffix .json is taken for a type that is asked for, as everywhere.
@routes.get("/openapi", produces=("application/json", "application/hal+json"))
def get_description(call: Call) -> Response:
    """This description of the API, in OpenAPI (as /openapi.json, too)."""
    secured = call.settings.writer is not None
    return JsonResponse(openapi.document(call.app.routes, call.urls.base, secured=secured), media_type=JSON)
