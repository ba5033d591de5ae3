"""Builders of the Jobs: pure functions from an object of ours to a manifest.

The Jobs' contract with the operator is environment variables, an exit code and a termination message; see
`jobs/verifier` and `jobs/publisher`.
"""

import copy
import json
from collections.abc import Mapping
from typing import Any, Final

from pact_operator.api import names
from pact_operator.api.v1alpha1 import KeyRef, Meta, PactBroker, PactConsumer, PactVerification, Run
from pact_operator.core.facts import Settings
from pact_operator.core.naming import label_value
from pact_operator.core.selectors import effective, wire

_TMP: Final = "pact-operator-tmp"
_PACTS: Final = "pact-operator-pacts"
_CA: Final = "pact-operator-broker-ca"
_CA_PATH: Final = "/etc/pact-broker-ca"
_REPORTS: Final = "pact-operator-reports"
_REPORTS_PATH: Final = "/reports"
_UID: Final = 10001

_DEFAULT_RESOURCES: Final = {
    "requests": {"cpu": "50m", "memory": "96Mi"},
    "limits": {"memory": "512Mi"},
}


def owner_reference(kind: str, meta: Meta) -> dict[str, Any]:
    """The controller owner reference of a child: it goes when its owner goes."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": kind,
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
    }


def verifier_job(verification: PactVerification, broker: PactBroker, settings: Settings, name: str) -> dict[str, Any]:
    """Builds the Job of one run: the provider as native sidecars, the verifier beside it.

    Provider and verifier start together; the verifier itself waits for readiness, so that its own start-up and the
    provider's overlap, and a provider that never gets ready has a reason of its own.

    Args:
        verification: the run.
        broker: where pacts come from and results go to.
        settings: images.
        name: name of the Job.

    Returns:
        A `batch/v1` Job manifest.
    """
    spec = verification.spec
    ephemeral = spec.target.ephemeral
    template = copy.deepcopy(ephemeral.template) if ephemeral else {}
    pod = template.setdefault("spec", {}) or {}
    sidecars = [
        {**_provider_container(container, spec.provider_version), "restartPolicy": "Always"}
        for container in pod.get("containers") or []
    ]
    before = [_provider_container(container, spec.provider_version) for container in pod.get("initContainers") or []]
    pod["initContainers"] = before + sidecars
    if ephemeral:
        url = f"http://localhost:{ephemeral.port}"
        readiness = ephemeral.readiness_path
    else:
        service = spec.target.service
        assert service is not None, "the schema admits no target with neither"  # noqa: S101
        url = f"{service.scheme}://{service.name}.{verification.metadata.namespace}.svc:{service.port}{service.path}"
        readiness = ""
    env = [
        *_broker_env(broker, "PV_CA_FILE"),
        _env("PV_PROVIDER", spec.pacticipant),
        _env("PV_PROVIDER_VERSION", spec.provider_version),
        _env("PV_PROVIDER_URL", url),
        _env("PV_READINESS_PATH", readiness),
        _env("PV_READY_TIMEOUT_SECONDS", str(spec.run.ready_timeout_seconds)),
        _env("PV_PUBLISH", "true" if spec.publish_results else "false"),
    ]
    if spec.provider_branch:
        env.append(_env("PV_PROVIDER_BRANCH", spec.provider_branch))
    if spec.provider_states:
        env.append(_env("PV_STATES_PATH", spec.provider_states.path))
    if spec.message_path:
        env.append(_env("PV_MESSAGE_PATH", spec.message_path))
    if spec.pacts:
        env.append(_env("PV_PACTS", _json([pact.model_dump(by_alias=True) for pact in spec.pacts])))
    else:
        env.append(_env("PV_SELECTORS", _json(wire(effective(spec.selectors or ())))))
        env.append(_env("PV_INCLUDE_PENDING", "true" if spec.enable_pending else "false"))
    pod["containers"] = [
        _our_container(
            names.CONTAINER_VERIFIER, settings.verifier_image, settings, env, broker.spec.ca_secret_ref, spec.run
        )
    ]
    if spec.junit:
        _leave_report(pod, spec.junit.volume, verification.metadata.name)
    labels = {names.LABEL_ROLE: names.ROLE_VERIFIER}
    if provider := verification.metadata.labels.get(names.LABEL_PROVIDER):
        labels[names.LABEL_PROVIDER] = provider
    return _job(
        name=name,
        owner=owner_reference(names.VERIFICATION, verification.metadata),
        meta=verification.metadata,
        labels=labels,
        run=spec.run,
        template=template,
        pod=_finish_pod(pod, broker.spec.ca_secret_ref),
        fails_at_once=[
            {
                "containerName": names.CONTAINER_VERIFIER,
                "operator": "In",
                "values": [names.EXIT_BROKEN, names.EXIT_NOTHING],
            }
        ],
    )


def _leave_report(pod: dict[str, Any], volume: Mapping[str, Any], name: str) -> None:
    [verifier] = pod["containers"]
    verifier["env"].append(_env("PV_JUNIT_FILE", f"{_REPORTS_PATH}/{label_value(name)}.xml"))
    verifier["volumeMounts"].append({"name": _REPORTS, "mountPath": _REPORTS_PATH})
    pod["volumes"] = [*(pod.get("volumes") or []), {**volume, "name": _REPORTS}]
    # A fresh claim belongs to root, and the verifier is not root.
    pod["securityContext"] = {"fsGroup": _UID, **(pod.get("securityContext") or {})}


def consumer_job(
    consumer: PactConsumer, version: str, broker: PactBroker, settings: Settings, name: str
) -> dict[str, Any]:
    """Builds the Job of one consumer version: the tests first, without any credential, then the publisher.

    Args:
        consumer: whose tests run.
        version: the consumer version.
        broker: where the pacts go.
        settings: images.
        name: name of the Job.

    Returns:
        A `batch/v1` Job manifest. The test containers are init containers, in order: the publisher starts only after
        each of them has passed.
    """
    spec = consumer.spec
    template = copy.deepcopy(spec.template)
    pod = template.setdefault("spec", {}) or {}
    tests = [_tests_container(container, version) for container in pod.get("containers") or []]
    before = [_provider_container(container, version) for container in pod.get("initContainers") or []]
    pod["initContainers"] = before + tests
    env = [
        *_broker_env(broker, "PP_CA_FILE"),
        _env("PP_CONSUMER", spec.pacticipant),
        _env("PP_CONSUMER_VERSION", version),
        _env("PP_PACT_DIR", names.PACTS_PATH),
    ]
    if spec.branch:
        env.append(_env("PP_BRANCH", spec.branch))
    publisher = _our_container(
        names.CONTAINER_PUBLISHER, settings.publisher_image, settings, env, broker.spec.ca_secret_ref, spec.run
    )
    publisher["volumeMounts"].append({"name": _PACTS, "mountPath": names.PACTS_PATH, "readOnly": True})
    pod["containers"] = [publisher]
    pod["volumes"] = [*(pod.get("volumes") or []), {"name": _PACTS, "emptyDir": {"sizeLimit": "256Mi"}}]
    return _job(
        name=name,
        owner=owner_reference(names.CONSUMER, consumer.metadata),
        meta=consumer.metadata,
        labels={names.LABEL_ROLE: names.ROLE_CONSUMER},
        run=spec.run,
        template=template,
        pod=_finish_pod(pod, broker.spec.ca_secret_ref),
        fails_at_once=[
            *(
                {"containerName": test["name"], "operator": "NotIn", "values": [0]}
                for test in tests
                if isinstance(test.get("name"), str)
            ),
            {
                "containerName": names.CONTAINER_PUBLISHER,
                "operator": "In",
                "values": [names.EXIT_BROKEN, names.EXIT_NOTHING],
            },
        ],
    )


def _job(
    *,
    name: str,
    owner: dict[str, Any],
    meta: Meta,
    labels: dict[str, str],
    run: Run,
    template: dict[str, Any],
    pod: dict[str, Any],
    fails_at_once: list[dict[str, Any]],
) -> dict[str, Any]:
    ours = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_OWNER: label_value(meta.name), **labels}
    own_meta = template.get("metadata") or {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": meta.namespace,
            "labels": {**run.labels, **ours},
            "annotations": dict(run.annotations),
            "ownerReferences": [owner],
        },
        "spec": {
            "backoffLimit": run.infra_retries,
            "activeDeadlineSeconds": run.active_deadline_seconds,
            "ttlSecondsAfterFinished": run.ttl_seconds_after_finished,
            # A disruption is nobody's fault; a verdict is final; all else counts against backoffLimit.
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    *({"action": "FailJob", "onExitCodes": rule} for rule in fails_at_once),
                ]
            },
            "template": {
                "metadata": {
                    "labels": {**(own_meta.get("labels") or {}), **run.labels, **ours},
                    "annotations": {**(own_meta.get("annotations") or {}), **run.annotations},
                },
                "spec": pod,
            },
        },
    }


def _finish_pod(pod: dict[str, Any], ca: KeyRef | None) -> dict[str, Any]:
    # An empty `securityContext:` in a template is null, and means the same as none.
    security = pod["securityContext"] = pod.get("securityContext") or {}
    security.setdefault("runAsNonRoot", True)
    security.setdefault("seccompProfile", {"type": "RuntimeDefault"})
    volumes = [*(pod.get("volumes") or []), {"name": _TMP, "emptyDir": {"sizeLimit": "256Mi"}}]
    if ca:
        volumes.append({"name": _CA, "secret": {"secretName": ca.name, "items": [{"key": ca.key, "path": "ca.crt"}]}})
    pod["volumes"] = volumes
    pod["restartPolicy"] = "Never"
    pod["automountServiceAccountToken"] = False
    pod["enableServiceLinks"] = False
    # The provider has served its purpose once the verifier has ended: its default half minute would only delay.
    pod.setdefault("terminationGracePeriodSeconds", 5)
    return pod


def _hardened(container: Mapping[str, Any], version: str) -> dict[str, Any]:
    result: dict[str, Any] = {**container, "image": str(container.get("image", "")).replace("{version}", version)}
    security = dict(result.get("securityContext") or {})
    security.setdefault("allowPrivilegeEscalation", False)
    security.setdefault("capabilities", {"drop": ["ALL"]})
    result["securityContext"] = security
    # The last lines of the log then stand in the Pod's status, where they can be read without access to logs.
    result.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    return result


def _provider_container(container: Mapping[str, Any], version: str) -> dict[str, Any]:
    return _hardened(container, version)


def _tests_container(container: Mapping[str, Any], version: str) -> dict[str, Any]:
    result = _hardened(container, version)
    result["volumeMounts"] = [
        *(result.get("volumeMounts") or []),
        {"name": _PACTS, "mountPath": names.PACTS_PATH},
    ]
    result["env"] = [*(result.get("env") or []), _env("PACT_DO_NOT_TRACK", "true")]
    # Probes do not apply to what runs to its end, and the API server refuses them on init containers.
    for probe in ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
        result.pop(probe, None)
    return result


def _our_container(
    name: str, image: str, settings: Settings, env: list[dict[str, Any]], ca: KeyRef | None, run: Run
) -> dict[str, Any]:
    mounts = [{"name": _TMP, "mountPath": "/tmp"}]  # noqa: S108 (an emptyDir of the Pod's own)
    if ca:
        mounts.append({"name": _CA, "mountPath": _CA_PATH})
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": settings.image_pull_policy,
        "env": [*env, _env("PACT_DO_NOT_TRACK", "true"), _env("HOME", "/tmp")],  # noqa: S108
        "resources": run.resources or _DEFAULT_RESOURCES,
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "runAsUser": _UID,
            "runAsGroup": _UID,
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _broker_env(broker: PactBroker, ca_variable: str) -> list[dict[str, Any]]:
    env = [_env("PACT_BROKER_BASE_URL", broker.spec.url)]
    if secret := broker.spec.auth.write_secret_ref:
        for variable, key in (
            ("PACT_BROKER_USERNAME", "username"),
            ("PACT_BROKER_PASSWORD", "password"),
            ("PACT_BROKER_TOKEN", "token"),
        ):
            ref = {"name": secret.name, "key": key, "optional": True}
            env.append({"name": variable, "valueFrom": {"secretKeyRef": ref}})
    if broker.spec.ca_secret_ref:
        env.append(_env(ca_variable, f"{_CA_PATH}/ca.crt"))
    return env


def _env(name: str, value: str) -> dict[str, Any]:
    # The kubelet expands $(NAME) in values; what people write is meant as it stands.
    return {"name": name, "value": value.replace("$(", "$$(")}


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
