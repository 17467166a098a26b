"""What a push means on a host whose config is known, or not yet."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy.decide import (
    ACCEPTED,
    IGNORED,
    decide,
    reason_of,
    why_not,
)
from integralgit.hooks.delivery import Delivery, Push
from integralgit.hostconfig.resolve import Deployment
from integralgit.journal.events import Decision, Target
from integralgit.names import Repository

SITE = Repository("github.com", "acme/site")
LIVE = Deployment("web1", "/srv/live", "main")
TEST = Deployment("web2", "/srv/test", "dev")
COPY = Deployment("web3", "/srv/copy", "main")


def push(ref: str, *, deleted: bool = False) -> Push:
    """A push of that ref."""
    return Push(ref, after=None if deleted else "ab" * 20, deleted=deleted)


class BranchTests(SynchronousTestCase):
    def test_our_branch(self) -> None:
        """A push to a deployed branch is accepted for the location that it is deployed to."""
        self.assertEqual(
            decide(push("refs/heads/main"), [LIVE, TEST]),
            Decision(ACCEPTED, targets=(Target("main", "web1", "/srv/live"),)),
        )

    def test_several_locations(self) -> None:
        """A branch that two locations deploy is accepted for both."""
        self.assertEqual(
            decide(push("refs/heads/main"), [LIVE, TEST, COPY]).targets,
            (Target("main", "web1", "/srv/live"), Target("main", "web3", "/srv/copy")),
        )

    def test_a_branch_with_a_slash(self) -> None:
        """The whole rest of the ref is the branch."""
        feature = Deployment("web1", "/srv/x", "feature/main")
        self.assertEqual(decide(push("refs/heads/feature/main"), [feature]).outcome, ACCEPTED)
        self.assertEqual(decide(push("refs/heads/feature/main"), [LIVE]).outcome, IGNORED)
        self.assertEqual(decide(push("refs/heads/main"), [feature]).outcome, IGNORED)

    def test_another_branch(self) -> None:
        """Another branch is ignored, says which are deployed, and asks for a look at the config."""
        decision = decide(push("refs/heads/other"), [LIVE, TEST, COPY])
        self.assertEqual((decision.outcome, decision.targets, decision.look), (IGNORED, (), True))
        for part in ("other", "dev, main"):
            self.assertIn(part, decision.reason)

    def test_branches_differ_by_case(self) -> None:
        """`Main` is not `main`."""
        self.assertEqual(decide(push("refs/heads/Main"), [LIVE]).outcome, IGNORED)

    def test_nothing_to_deploy_here(self) -> None:
        """Where the config has nothing for this host, that is the reason, and a look is due."""
        decision = decide(push("refs/heads/main"), [])
        self.assertEqual((decision.outcome, decision.look), (IGNORED, True))
        self.assertIn("nothing to deploy for this host", decision.reason)
        self.assertEqual(decision.reason, why_not("main", []))

    def test_config_not_known_yet(self) -> None:
        """While the config is not known, a push waits for its branch, without a location."""
        self.assertEqual(
            decide(push("refs/heads/main"), None), Decision(ACCEPTED, targets=(Target("main"),))
        )


class NotABranchTests(SynchronousTestCase):
    def ignored(self, ref: str, part: str) -> None:
        """Assert that the ref is ignored with that in the reason, whatever is known."""
        for known in (None, [], [LIVE]):
            decision = decide(push(ref), known)
            self.assertEqual((decision.outcome, decision.targets), (IGNORED, ()), ref)
            self.assertIn(part, decision.reason)
            self.assertFalse(decision.look)

    def test_tags_and_other_refs(self) -> None:
        """Only what lies under `refs/heads/` is a branch, however its name goes on."""
        for ref in (
            "refs/tags/main",
            "refs/pull/1/head",
            "refs/changes/1",
            "refs/notes/refs/heads/main",
            "refs/heads",
            "refs/Heads/main",
            "main",
            "heads/main",
            " refs/heads/main",
            "",
        ):
            self.ignored(ref, "only branches are deployed")

    def test_a_ref_without_a_name(self) -> None:
        """An empty ref is called so, and the reason is a whole sentence all the same."""
        self.assertEqual(
            decide(push(""), [LIVE]),
            Decision(IGNORED, "a ref without a name is not a branch; only branches are deployed"),
        )

    def test_names_that_cannot_be_ours(self) -> None:
        """A name that git or we could take for something else is ignored with a reason."""
        for branch in (
            "",
            "-x",
            "--upload-pack=touch${IFS}/tmp/x",
            "+main",
            "@",
            "HEAD",
            "a..b",
            "a b",
            "../../etc",
            "a\nb",
            "a\0b",
            "a\ud800",
            "x" * 4000,
        ):
            self.ignored("refs/heads/" + branch, "cannot be the name of a deployed branch")

    def test_a_long_ref_makes_no_long_reason(self) -> None:
        """The reason repeats only the beginning of a very long ref."""
        for ref in ("refs/heads/" + "x" * 100_000, "refs/tags/" + "x" * 100_000):
            self.assertLess(len(decide(push(ref), None).reason), 500)

    def test_deletion(self) -> None:
        """The deletion of a branch is ignored, even of a deployed one (threat 38)."""
        for known in (None, [], [LIVE]):
            decision = decide(push("refs/heads/main", deleted=True), known)
            self.assertEqual((decision.outcome, decision.targets), (IGNORED, ()))
            self.assertIn("main was deleted", decision.reason)

    def test_deletion_of_a_tag(self) -> None:
        """The deletion of a tag is about a tag."""
        decision = decide(push("refs/tags/main", deleted=True), [LIVE])
        self.assertEqual(decision.outcome, IGNORED)
        self.assertIn("refs/tags/main is not a branch", decision.reason)


class ConfigBranchTests(SynchronousTestCase):
    def test_a_config_push(self) -> None:
        """A push to `integralgit` asks for a look and deploys nothing by itself."""
        for known in (None, [], [LIVE]):
            decision = decide(push("refs/heads/integralgit"), known)
            self.assertEqual((decision.outcome, decision.targets), (ACCEPTED, ()))
            self.assertTrue(decision.look)
            self.assertIn("next push", decision.reason)

    def test_the_config_is_deleted(self) -> None:
        """The deletion of `integralgit` is ignored, and asks for a look at what is left."""
        for known in (None, [], [LIVE]):
            self.assertEqual(
                decide(push("refs/heads/integralgit", deleted=True), known),
                Decision(
                    IGNORED, "the config was deleted; nothing is deployed any more", look=True
                ),
            )

    def test_a_tag_called_like_it(self) -> None:
        """A tag of that name is a tag."""
        self.assertEqual(decide(push("refs/tags/integralgit"), [LIVE]).outcome, IGNORED)


class DeliveryTests(SynchronousTestCase):
    DELIVERY = Delivery("github", "ping", note="the event ping deploys nothing")

    def test_no_pushes(self) -> None:
        """A delivery without pushes is ignored, and its note is the reason."""
        self.assertEqual(reason_of(self.DELIVERY, []), (IGNORED, "the event ping deploys nothing"))

    def test_one_accepted_among_ignored(self) -> None:
        """A delivery is accepted if one of its pushes is; why others are ignored is no reason then."""
        decisions = [
            Decision(IGNORED, "a tag"),
            Decision(ACCEPTED, targets=(Target("main"),)),
            Decision(IGNORED, "a deletion"),
        ]
        self.assertEqual(reason_of(self.DELIVERY, decisions), (ACCEPTED, ""))

    def test_all_ignored(self) -> None:
        """The reasons of ignored pushes are told once each, in their order."""
        decisions = [Decision(IGNORED, text) for text in ("a tag", "a deletion", "a tag")]
        self.assertEqual(reason_of(self.DELIVERY, decisions), (IGNORED, "a tag; a deletion"))

    def test_accepted_with_a_reason(self) -> None:
        """What an accepted push has to say is told."""
        decisions = [Decision(ACCEPTED, "the config is read again"), Decision(IGNORED, "a tag")]
        self.assertEqual(
            reason_of(self.DELIVERY, decisions), (ACCEPTED, "the config is read again")
        )
