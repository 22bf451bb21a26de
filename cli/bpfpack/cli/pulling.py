"""Fetching a package from its registry into the store, under the policy."""

from bpfpack.cli.host import Host
from bpfpack.cli.judged import judge_located
from bpfpack.cli.located import Located, locate_remote
from bpfpack.cli.platform import host_platform
from bpfpack.cli.progress import shown
from bpfpack.registry.transfer import copy
from bpfpack.spec.judgement import Judgement
from bpfpack.spec.reference import Reference


def pull_package(
    host: Host,
    reference: Reference,
    *,
    all_platforms: bool = False,
    allow_downgrade: bool = False,
    to_run: bool = False,
) -> Located:
    """Judge what a registry has under a name, then store that very content.

    Raises TrustError when a rule in scope refuses it, TransportError, StoreError and
    ContentError.  What no rule covers is stored, with a word about it; what was accepted
    raises the high-water mark, so that no older release replaces it.
    """
    found = locate_remote(host, reference)
    judged = _judge(host, found, allow_downgrade)
    pinned = found.content.descriptor.digest
    with shown(host.printer) as progress:
        copied = copy(
            found.place,
            host.store.repository(found.reference.name),
            pinned,
            found.reference.tag if not found.reference.digest else None,
            progress=progress,
            platform=None if all_platforms else host_platform(),
        )
    if found.reference.digest:
        from bpfpack.registry.store.record import Origin

        host.store.record(found.reference, copied.content, Origin.PULLED)
    host.accepted(judged)
    if not judged.accepted and not to_run:  # which says it itself, in a moment
        fate = "its rule only warns" if judged.scope else "it may not run"
        host.printer.warn(f"stored, and {fate}: {judged.reason}")
    for problem in (*copied.problems, *host.registries.warnings):
        host.printer.warn(problem)
    if reference.tag is None and reference.digest is None and found.reference.tag != "latest":
        host.printer.info(f"{reference} has no tag latest; took {found.reference.tag}")
    return found


def _judge(host: Host, found: Located, allow_downgrade: bool) -> Judgement:
    """Weigh what was found; raises TrustError for what is not to be stored."""
    judged = judge_located(host, found, allow_downgrade=allow_downgrade)
    enforced = host.policy.problem or (judged.scope and judged.scope.level == "enforce")
    if not judged.accepted and enforced:
        raise judged.error()
    return judged
