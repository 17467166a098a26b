"""What a push means on this host: deploy it, or why not.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from integralgit.hooks.delivery import Delivery, Push
from integralgit.hostconfig.resolve import Deployment
from integralgit.journal.events import Decision, Target
from integralgit.names import CONFIG_BRANCH, is_branch

ACCEPTED = "accepted"
IGNORED = "ignored"
_HEADS = "refs/heads/"


def decide(push: Push, deployments: Sequence[Deployment] | None) -> Decision:
    """What the push means, given this host's deployments, or None where they are not known yet.

    A push that the known config would ignore asks for a look, for the config
    may have changed without our being told.
    """
    if not push.ref.startswith(_HEADS):
        return Decision(
            IGNORED,
            f"{push.ref[:200] or 'a ref without a name'} is not a branch; only branches are deployed",
        )
    branch = push.ref.removeprefix(_HEADS)
    if not is_branch(branch):
        return Decision(IGNORED, f"{branch[:200]!r} cannot be the name of a deployed branch")
    if branch == CONFIG_BRANCH and push.deleted:
        return Decision(IGNORED, "the config was deleted; nothing is deployed any more", look=True)
    if branch == CONFIG_BRANCH:
        return Decision(
            ACCEPTED, "the config is read again and takes effect with the next push", look=True
        )
    if push.deleted:
        return Decision(IGNORED, f"branch {branch} was deleted; nothing is deployed for that")
    if deployments is None:
        return Decision(ACCEPTED, targets=(Target(branch),))
    targets = tuple(
        Target(branch, one.host, one.location) for one in deployments if one.branch == branch
    )
    if targets:
        return Decision(ACCEPTED, targets=targets)
    return Decision(IGNORED, why_not(branch, deployments), look=True)


def why_no_config(repo: str, fault: str | None) -> str:
    """Why a repository has no config in use, as a sentence; `fault` is what is wrong with the newest."""
    return fault or f"{repo} has no branch {CONFIG_BRANCH} with a config"


def why_not(branch: str, deployments: Sequence[Deployment]) -> str:
    """Why a push to that branch deploys nothing here, as a sentence."""
    if not deployments:
        return "the config has nothing to deploy for this host"
    ours = ", ".join(sorted({one.branch for one in deployments}))
    return f"branch {branch} is not deployed here ({ours} is)"


def reason_of(delivery: Delivery, decisions: Sequence[Decision]) -> tuple[str, str]:
    """The outcome of a whole delivery, and its reason: accepted if any of its pushes is."""
    accepted = [one for one in decisions if one.outcome == ACCEPTED]
    reasons = dict.fromkeys(one.reason for one in accepted or decisions if one.reason)
    reason = "; ".join(reasons) or ("" if decisions else delivery.note)
    return (ACCEPTED if accepted else IGNORED), reason
