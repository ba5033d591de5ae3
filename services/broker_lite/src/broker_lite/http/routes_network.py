"""Who is connected with whom, as CSV."""

from fastapi import Response

from broker_lite.domain import network
from broker_lite.http import lookup
from broker_lite.http.call import Call, Routes
from broker_lite.store import pacts

routes = Routes()
_CSV = "text/csv"


def _edges(call: Call) -> list[network.Edge]:
    latest = pacts.overall_latest(call.session)
    return [((one.consumer.id, one.consumer.name), (one.provider.id, one.provider.name)) for one in latest]


@routes.get("/relationships", produces=(_CSV,))
def get_relationships(call: Call) -> Response:
    """All pacticipants and what each consumes, as CSV."""
    return Response(network.table(_edges(call)), media_type=f"{_CSV};charset=utf-8")


@routes.get("/groups/{pacticipant}", produces=(_CSV,))
def get_group(call: Call) -> Response:
    """The pacticipants that are connected with one, and what each consumes, as CSV."""
    start = lookup.pacticipant(call)
    text = call.text_query("maxPacticipants") or ""
    most = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
    edges = network.connected(_edges(call), start.id, most)
    return Response(network.table(edges), media_type=f"{_CSV};charset=utf-8")
