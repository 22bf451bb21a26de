"""The only module that imports oras-py; each function imports what it uses when it is used.

Used: its media types, and `EcrAuth` for Amazon's registries, whose credentials come from
boto3 (``pip install 'oras[ecr]'``).

Not used, although it looks inviting:

 * `oras.auth.utils.load_configs` reads ``~/.docker/config.json`` even when DOCKER_CONFIG
   names another, takes several files in no fixed order, and fails as a whole on one entry
   that is not an object.
 * `AuthBackend._get_auth_from_creds_store` runs a helper without a time limit or a bound on
   what it prints, and turns an identity token into a Basic password.
 * `oras.container.Container` searches unanchored; `bpfpack.spec.reference` is strict.
 * `oras.provider.Registry` and the token backend: one Authorization header in a dictionary
   shared by all requests, no realm policy, no time limits.
"""

import re
from typing import Final

from bpfpack.registry.client.wire import Credential
from bpfpack.spec.errors import Denied

# Known without importing oras (and requests with it) for every other registry.
_ECR: Final = re.compile(r"[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com")
_SERVICE: Final = "ecr.amazonaws.com"


def accepted_manifests() -> tuple[str, ...]:
    """Return the manifest types that oras asks for; `oras.defaults` imports nothing else."""
    import oras.defaults

    return tuple(oras.defaults.default_manifest_accepted_media_types)


def is_ecr(registry: str) -> bool:
    """Say whether Amazon hands out the credentials of ``registry``.

    >>> is_ecr("123456789012.dkr.ecr.eu-west-1.amazonaws.com"), is_ecr("ghcr.io")
    (True, False)
    """
    return _ECR.fullmatch(registry) is not None


def ecr_credential(registry: str) -> Credential:
    """Return a credential for an ECR registry from the AWS account in use; raises Denied."""
    import requests
    from oras.auth.ecr import EcrAuth

    # What the backend reads of a response; it asks AWS, not the registry.
    challenge = f'Basic realm="https://{registry}/",service="{_SERVICE}"'
    response = requests.Response()
    response.headers["Www-Authenticate"] = challenge
    try:
        headers, _ = EcrAuth().authenticate_request(  # type: ignore[no-untyped-call]
            response, {}
        )
    except Exception as e:
        hint = "pip install 'oras[ecr]'" if isinstance(e, ImportError) else "see `aws configure`"
        raise Denied(f"{registry}: no credentials from AWS ({type(e).__name__})").with_hint(
            hint
        ) from e
    return Credential.from_basic(headers["Authorization"].removeprefix("Basic "))
