"""The kit's registries and token service, held against real clients."""

import subprocess
from pathlib import Path
from typing import Literal

import pytest
import requests

from tests.kit.pki import make_ca
from tests.kit.servers import docker_registry, write_docker_config
from tests.kit.tokenserver import everybody_may_pull, token_server


@pytest.mark.registry
@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_docker_registry_accepts_the_token_services_tokens(
    tmp_path: Path, algorithm: Literal["ES256", "RS256"]
) -> None:
    with (
        token_server(tmp_path, algorithm=algorithm, grant=everybody_may_pull) as tokens,
        docker_registry(tmp_path, token_auth=tokens) as registry,
    ):
        challenge = requests.get(f"{registry.url}/v2/", timeout=10)
        assert challenge.status_code == 401
        assert f'realm="{tokens.realm}"' in challenge.headers["WWW-Authenticate"]
        asked = {"service": tokens.service, "scope": "repository:x/y:pull,push"}
        begin = f"{registry.url}/v2/x/y/blobs/uploads/"

        def push(auth: tuple[str, str] | None) -> int:
            reply = requests.get(tokens.realm, params=asked, auth=auth, timeout=10)
            bearer = {"Authorization": f"Bearer {reply.json()['token']}"}
            return requests.post(begin, headers=bearer, timeout=10).status_code

        assert push(("user", "secret")) == 202
        assert push(None) == 401
        wrong = requests.get(tokens.realm, params=asked, auth=("user", "no"), timeout=10)
        assert wrong.status_code == 401
        assert [seen.user for seen in tokens.requests] == ["user", None, "user"]


@pytest.mark.registry
def test_skopeo_logs_in_over_tls_with_our_authority(tmp_path: Path) -> None:
    certificates = make_ca(tmp_path / "pki", "127.0.0.1", "localhost")
    with (
        token_server(tmp_path, tls=certificates) as tokens,
        docker_registry(tmp_path, token_auth=tokens, tls=certificates) as registry,
    ):
        trusted = tmp_path / "certs"
        trusted.mkdir()
        (trusted / "ca.crt").write_bytes(certificates.ca.read_bytes())
        config = write_docker_config(tmp_path / "docker", registry.host, "user", "secret")
        found = subprocess.run(
            [
                *("skopeo", "list-tags", "--authfile", config, "--cert-dir", trusted),
                f"docker://{registry.host}/nothing/here",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    # Authenticated, and then told the truth; a failed login reads "unauthorized".
    assert "404 (Not Found)" in found.stderr
    assert tokens.requests[-1].user == "user"


def test_identity_tokens_are_exchanged_by_post(tmp_path: Path) -> None:
    with token_server(tmp_path) as tokens:
        tokens.refresh_tokens["long-lived"] = "user"
        form = {"grant_type": "refresh_token", "refresh_token": "long-lived"}
        assert requests.post(tokens.realm, data=form, timeout=10).json()["access_token"]
        form["refresh_token"] = "other"
        assert requests.post(tokens.realm, data=form, timeout=10).status_code == 401
