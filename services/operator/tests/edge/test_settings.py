import subprocess
import sys
from pathlib import Path

import pytest

from pact_operator.settings import OperatorSettings, SettingsError

IMAGES = {"PACT_OPERATOR_VERIFIER_IMAGE": "verifier:1", "PACT_OPERATOR_PUBLISHER_IMAGE": "publisher:1"}


@pytest.fixture
def token(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text("secret", encoding="utf-8")
    return str(path)


def test_images_are_all_that_is_needed() -> None:
    settings = OperatorSettings.load(IMAGES)
    assert settings.watch_namespaces == ()
    assert settings.hook_url == ""
    assert (settings.http_port, settings.health_port) == (8080, 8081)
    assert (settings.log_level, settings.log_format, settings.image_pull_policy) == ("INFO", "plain", "IfNotPresent")


def test_the_admission_webhook_needs_certificate_and_key(tmp_path: Path) -> None:
    env = IMAGES | {"PACT_OPERATOR_ADMISSION_CERTIFICATE_DIR": str(tmp_path)}
    for file in ("tls.crt", "tls.key"):
        with pytest.raises(SettingsError, match=f"has no {file}: mount a Secret"):
            OperatorSettings.load(env)
        (tmp_path / file).write_text("x", encoding="utf-8")
    settings = OperatorSettings.load(env)
    assert (settings.admission_certificate_dir, settings.admission_port) == (tmp_path, 8443)


def test_every_variable_counts(token: str) -> None:
    settings = OperatorSettings.load(
        {
            **IMAGES,
            "PACT_OPERATOR_WATCH_NAMESPACES": "team-a, team-b,,team-a",
            "PACT_OPERATOR_HOOK_URL": "http://operator.svc:8080/",
            "PACT_OPERATOR_HOOK_TOKEN_FILE": token,
            "PACT_OPERATOR_IMAGE_PULL_POLICY": "never",
            "PACT_OPERATOR_LOG_LEVEL": "debug",
            "PACT_OPERATOR_LOG_FORMAT": "JSON",
            "PACT_OPERATOR_HTTP_PORT": "9080",
            "PACT_OPERATOR_HEALTH_PORT": "9081",
        }
    )
    assert settings == OperatorSettings(
        verifier_image="verifier:1",
        publisher_image="publisher:1",
        watch_namespaces=("team-a", "team-b"),
        hook_url="http://operator.svc:8080",
        hook_token_file=Path(token),
        image_pull_policy="Never",
        log_level="DEBUG",
        log_format="json",
        http_port=9080,
        health_port=9081,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VERIFIER_IMAGE", " "),
        ("PUBLISHER_IMAGE", ""),
        ("WATCH_NAMESPACES", "team-*"),
        ("WATCH_NAMESPACES", "Team"),
        ("HOOK_URL", "operator:8080"),
        ("HOOK_URL", "http://"),
        ("HOOK_URL", "http://[broken"),
        ("HOOK_URL", "http://user:password@operator"),
        ("HOOK_TOKEN_FILE", "/does/not/exist"),
        ("HOOK_TOKEN_FILE", "/dev/null"),
        ("IMAGE_PULL_POLICY", "Sometimes"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "xml"),
        ("HTTP_PORT", "eighty"),
        ("HTTP_PORT", "-1"),
        ("HEALTH_PORT", "65536"),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        OperatorSettings.load({**IMAGES, f"PACT_OPERATOR_{name}": value})
    message = str(caught.value)
    assert f"PACT_OPERATOR_{name}" in message
    assert message.endswith(".")
    assert "\n" not in message


def test_hooks_without_a_token_are_refused() -> None:
    with pytest.raises(SettingsError, match="HOOK_TOKEN_FILE"):
        OperatorSettings.load({**IMAGES, "PACT_OPERATOR_HOOK_URL": "http://operator"})


def test_the_process_ends_with_2_and_one_line_for_bad_settings() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pact_operator"],
        check=False,
        env={"PYTHONPATH": ":".join(sys.path), "PACT_OPERATOR_VERIFIER_IMAGE": "v:1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "PACT_OPERATOR_PUBLISHER_IMAGE" in done.stderr


def test_the_process_ends_with_1_and_a_sentence_where_there_is_no_cluster(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pact_operator"],
        check=False,
        env={
            "PYTHONPATH": ":".join(sys.path),
            "HOME": str(tmp_path),
            "KUBECONFIG": str(tmp_path / "absent"),
            "PACT_OPERATOR_HEALTH_PORT": "0",
            **IMAGES,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "KUBECONFIG" in done.stderr
    assert "Traceback" not in done.stderr
