"""What a PactBroker needs: to be reached, its environment made, its webhook registered - and removed again."""

from collections.abc import Mapping
from typing import Any, Final

from pact_operator.api import names
from pact_operator.api.reasons import Reason
from pact_operator.core.actions import Action, DeleteWebhook, EnsureEnvironment, Event, Plan, PutWebhook, SetFinalizers
from pact_operator.core.conditions import Cond, events, status_of
from pact_operator.core.facts import BrokerFacts, Failure, Trouble
from pact_operator.core.naming import digest
from pact_operator.core.outcome import known
from pact_operator.core.times import duration, parse

GIVE_UP_SECONDS: Final = 60.0
"""How long the deletion of a PactBroker waits for a broker that does not answer."""
FIRST_RETRY_SECONDS: Final = 2.0
"""How soon a broker that has just gone out of reach is asked again."""
EVENTS: Final = ("contract_published", "provider_verification_published")
"""`contract_published` fires at every publication, also for a provider that the broker knows no version of."""


def webhook_uuid(broker_uid: str) -> str:
    """The fixed id of a PactBroker's webhook: at least 16 of `A-Za-z0-9_-`, as `PUT /webhooks/{uuid}` wants."""
    return f"pact-operator-{digest(broker_uid)}"


def plan_broker(facts: BrokerFacts) -> Plan:
    """Decides what one PactBroker needs.

    Args:
        facts: see `BrokerFacts`.

    Returns:
        Set-up of the broker, and the status. It always asks to be looked at again after the poll interval: that is the
        sweep that finds what no hint told of.
    """
    broker = facts.broker
    if broker.metadata.deletion_timestamp:
        return _leave(facts)
    interval = duration(broker.spec.poll_interval)
    if broker.spec.suspend:
        return _stated(facts, (Cond("Ready", "Unknown", Reason.SUSPENDED, "Suspended: set spec.suspend to false."),))
    if facts.check:
        ready = Cond("Ready", "False", known(facts.check.trouble, Reason.BROKER_UNAVAILABLE), facts.check.message)
        hook = Cond("WebhookRegistered", "Unknown", ready.reason, facts.check.message)
        stated = (ready, hook) if broker.spec.webhook.enabled else (ready,)
        return _stated(facts, stated, requeue_after=_patience(facts, interval))

    actions: list[Action] = []
    environment = broker.spec.environment
    if environment and environment.name not in facts.environments:
        actions.append(EnsureEnvironment(environment.name, environment.display_name, environment.production))
    hook_cond, hook_actions = _webhook(facts)
    actions += hook_actions
    ready = Cond("Ready", "True", Reason.REACHABLE, f"{broker.spec.url} answers and takes the credentials.")
    if failure := facts.failed.get("EnsureEnvironment"):
        ready = Cond("Ready", "False", _reason(failure, Reason.BROKER_UNAVAILABLE), failure.message)
    return _stated(facts, (ready, hook_cond), tuple(actions), 1.0 if actions else interval)


def _webhook(facts: BrokerFacts) -> tuple[Cond, list[Action]]:
    broker, kind = facts.broker, "WebhookRegistered"
    uuid = webhook_uuid(broker.metadata.uid)
    held = names.FINALIZER_WEBHOOK in broker.metadata.finalizers
    if not broker.spec.webhook.enabled or not facts.settings.hook_url:
        actions: list[Action] = [DeleteWebhook(uuid)] if facts.webhook is not None else []
        if held and facts.webhook is None:
            actions.append(SetFinalizers(_without(broker.metadata.finalizers)))
        why = "Switched off by spec.webhook.enabled: new pacts are found at the next poll."
        if broker.spec.webhook.enabled:
            why = "The operator was started without the address of its hook receiver; set PACT_OPERATOR_HOOK_URL."
        return Cond(kind, "False", Reason.DISABLED, why), actions
    desired = definition(facts)
    if not held:
        # The finalizer comes first: a webhook that nobody would remove must never exist.
        finalizers = (*broker.metadata.finalizers, names.FINALIZER_WEBHOOK)
        return Cond(kind, "Unknown", Reason.REGISTERING, "Being registered."), [SetFinalizers(finalizers)]
    if same(facts.webhook, desired):
        return Cond(kind, "True", Reason.REGISTERED, f"The broker tells {facts.settings.hook_url} of new pacts."), []
    if failure := facts.failed.get("PutWebhook"):
        reason = _reason(failure, Reason.WEBHOOK_REFUSED)
        return Cond(kind, "False", reason, failure.message), [PutWebhook(uuid, desired)]
    return Cond(kind, "Unknown", Reason.REGISTERING, "Being registered."), [PutWebhook(uuid, desired)]


def definition(facts: BrokerFacts) -> Mapping[str, Any]:
    """The webhook as it should be, without its credential.

    Args:
        facts: for the address of the hook receiver and the digest of its token: a rotation changes the description, so
            that it is seen although the broker shows no token.

    Returns:
        The body of `PUT /webhooks/{uuid}`.
    """
    meta, settings = facts.broker.metadata, facts.settings
    return {
        "description": f"pact-operator {meta.namespace}/{meta.name} ({settings.hook_token_digest or 'no token'})",
        "enabled": True,
        "events": [{"name": name} for name in EVENTS],
        "request": {
            "method": "POST",
            "url": f"{settings.hook_url.rstrip('/')}/hooks/{meta.namespace}/{meta.name}",
            "headers": {"Content-Type": "application/json"},
            "body": {
                "event": "${pactbroker.eventName}",
                "consumer": "${pactbroker.consumerName}",
                "provider": "${pactbroker.providerName}",
            },
        },
    }


def same(observed: Mapping[str, Any] | None, desired: Mapping[str, Any]) -> bool:
    """Whether the broker holds the webhook as it should be; headers do not count, since it hides their values."""
    if observed is None:
        return False
    request, wanted = observed.get("request"), desired["request"]
    events_ = observed.get("events")
    if not isinstance(request, Mapping) or not isinstance(events_, list):
        return False
    return (
        observed.get("description") == desired["description"]
        and observed.get("enabled", True) is True
        and sorted(str(event.get("name")) for event in events_ if isinstance(event, Mapping)) == sorted(EVENTS)
        and request.get("method") == wanted["method"]
        and request.get("url") == wanted["url"]
        and request.get("body") == wanted["body"]
    )


def _leave(facts: BrokerFacts) -> Plan:
    """The object is being deleted: its webhook goes first, but a broker that is gone holds nobody up."""
    meta = facts.broker.metadata
    if names.FINALIZER_WEBHOOK not in meta.finalizers:
        return Plan()
    release = SetFinalizers(_without(meta.finalizers))
    if facts.check is None and facts.webhook is None:
        return Plan(actions=(release,))
    if facts.now - parse(meta.deletion_timestamp) > GIVE_UP_SECONDS:
        why = facts.check.message if facts.check else "The broker did not remove it."
        said = f"Webhook {webhook_uuid(meta.uid)} stays in the broker, remove it there: {why}"
        return Plan(actions=(release,), events=(Event("Warning", "WebhookLeftBehind", said),))
    if facts.check is None:
        return Plan(actions=(DeleteWebhook(webhook_uuid(meta.uid)),), requeue_after=1.0)
    return Plan(requeue_after=5.0)


def _patience(facts: BrokerFacts, interval: float) -> float:
    """A broker that is just starting is asked again soon, one that stays away ever more seldom."""
    ready = next((cond for cond in facts.broker.status.conditions if cond.type == "Ready"), None)
    away_for = facts.now - parse(ready.last_transition_time) if ready and ready.status == "False" else 0.0
    return min(interval, max(FIRST_RETRY_SECONDS, away_for))


def _without(finalizers: list[str]) -> tuple[str, ...]:
    return tuple(name for name in finalizers if name != names.FINALIZER_WEBHOOK)


def _reason(failure: Failure, refused: Reason) -> Reason:
    return refused if failure.trouble is Trouble.REFUSED else known(failure.trouble, refused)


def _stated(
    facts: BrokerFacts, stated: tuple[Cond, ...], actions: tuple[Action, ...] = (), requeue_after: float | None = None
) -> Plan:
    meta, observed = facts.broker.metadata, facts.broker.status.conditions
    return Plan(
        actions=actions,
        status=status_of(observed, stated, facts.now, meta.generation),
        events=events(observed, stated),
        requeue_after=requeue_after,
    )
