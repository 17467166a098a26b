"""Real deliveries of the git hosts, where the folder `shared/payloads` lies beside the checkout.

They are data to run against, not ours to copy: where the folder is absent,
this module has no tests. Each body is signed here, with a secret of the test.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from integralgit.hooks.delivery import Incoming
from integralgit.hooks.receive import receive
from tests.hooks.test_receive import KEYS, hub, key, refusal, with_headers

PAYLOADS = Path(__file__).parents[3] / "shared" / "payloads"
FOLDERS = {
    "github": "x-hub-signature-256",
    "github-enterprise": "x-hub-signature-256",
    "bitbucket": "x-hub-signature",
}

#: The secret of the two deliveries that come with their own signature.
PUBLISHED_SECRET = b"It's a Secret to Everybody"
PUBLISHED = ("github/push_form_signed.form", "github/push_json_signed.json")


@frozen
class Expected:
    """What a delivery is taken for: its event, its repository, and its changes."""

    event: str
    repo: str | None
    changes: tuple[tuple[str, bool], ...] = ()


HELLO = "github.com/Codertocat/Hello-World"
ENTERPRISE = "octocoders.github.io/Codertocat/Hello-World"
TAG, NO_TAG = (("refs/tags/simple-tag", False),), (("refs/tags/simple-tag", True),)
MASTER = (("refs/heads/master", False),)

EXPECTED = {
    "github/create.json": Expected("create", HELLO),
    "github/delete.json": Expected("delete", HELLO),
    "github/gad_github_pr_open.json": Expected(
        "pull_request", "github.com/olipo186/Git-Auto-Deploy"
    ),
    "github/gad_github_push.json": Expected("push", "github.com/olipo186/Git-Auto-Deploy", MASTER),
    "github/gp_create.json": Expected("create", "github.com/baxterthehacker/public-repo"),
    "github/gp_delete.json": Expected("delete", "github.com/baxterthehacker/public-repo"),
    "github/gp_ping.json": Expected("ping", None),
    "github/gp_push.json": Expected("push", "github.com/binkkatal/sample_app", MASTER),
    "github/ping.json": Expected("ping", "github.com/Octocoders/Hello-World"),
    "github/push.json": Expected("push", HELLO, TAG),
    "github/push_1.json": Expected("push", HELLO, NO_TAG),
    "github/push_2.json": Expected("push", HELLO, NO_TAG),
    "github/push_form_signed.form": Expected("push", HELLO, TAG),
    "github/push_json_signed.json": Expected("push", HELLO, TAG),
    "github-enterprise/ghes_35_create.json": Expected("create", ENTERPRISE),
    "github-enterprise/ghes_35_delete.json": Expected("delete", ENTERPRISE),
    "github-enterprise/ghes_35_ping.json": Expected(
        "ping", "octocoders.github.io/Octocoders/Hello-World"
    ),
    "github-enterprise/ghes_35_push.json": Expected("push", ENTERPRISE, TAG),
    "github-enterprise/github_ae_create.json": Expected("create", ENTERPRISE),
    "github-enterprise/github_ae_delete.json": Expected("delete", ENTERPRISE),
    "github-enterprise/github_ae_ping.json": Expected(
        "ping", "octocoders.github.io/Octocoders/Hello-World"
    ),
    "github-enterprise/github_ae_push.json": Expected("push", ENTERPRISE, NO_TAG),
    "bitbucket/gad_bitbucket_pr_created_filter_negative.json": Expected(
        "pullrequest:created", "bitbucket.org/oliverpoignant/test-hook"
    ),
    "bitbucket/gad_bitbucket_pr_created_filter_positive.json": Expected(
        "pullrequest:created", "bitbucket.org/oliverpoignant/test-hook"
    ),
    "bitbucket/gp_repo_push.json": Expected(
        "repo:push", "bitbucket.org/team_name/repo_name", (("refs/heads/name-of-branch", False),)
    ),
}


def sent(name: str) -> Incoming:
    """The delivery in that file, with the headers beside it and no signature that we made."""
    headers: dict[str, list[str]] = {}
    for line in (PAYLOADS / name).with_suffix(".headers").read_text("utf-8").splitlines():
        header, _, value = line.partition(":")
        headers.setdefault(header.strip().lower(), []).append(value.strip())
    return Incoming(headers, (PAYLOADS / name).read_bytes())


def signed(name: str) -> Incoming:
    """The same, signed with the secret of the tests in the header of its provider."""
    incoming = sent(name)
    return with_headers(incoming, {FOLDERS[Path(name).parent.name]: [hub(incoming.body)]})


def _decision_test(name: str) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        expected, incoming = EXPECTED[name], signed(name)
        delivery = receive(incoming, KEYS)
        changes = tuple((push.ref, push.deleted) for push in delivery.pushes)
        repo = str(delivery.repo) if delivery.repo else None
        self.assertEqual(Expected(delivery.event, repo, changes), expected)
        self.assertNotEqual(delivery.id, "")
        if not changes:
            self.assertIn(expected.event, delivery.note)

    test.__doc__ = f"{name} is taken for what it is."
    return test


def _refusal_test(name: str) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        incoming = signed(name)
        header = FOLDERS[Path(name).parent.name]
        for values in (None, [""], ["sha256="], [hub(incoming.body, b"another secret")]):
            self.assertEqual(refusal(with_headers(incoming, {header: values})).status, 401)
        if EXPECTED[name].repo is not None:
            self.assertEqual(refusal(incoming, [key("github.com/nobody/*")]).status, 401)

    test.__doc__ = f"{name} without its right signature, or of no business of ours, is refused."
    return test


def _published_test(name: str) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        delivery = receive(sent(name), [key("**", secret=PUBLISHED_SECRET)])
        self.assertEqual([push.ref for push in delivery.pushes], ["refs/tags/simple-tag"])

    test.__doc__ = f"{name} is proved by the signature that it came with."
    return test


def _table_test(self: SynchronousTestCase) -> None:
    """Every delivery of these git hosts that lies there is in the table."""
    found = {
        f"{folder}/{path.name}"
        for folder in FOLDERS
        for path in (PAYLOADS / folder).iterdir()
        if path.suffix != ".headers"
    }
    self.assertEqual(found, set(EXPECTED))


class DecisionTests(SynchronousTestCase):
    pass


class RefusalTests(SynchronousTestCase):
    pass


def _add_tests() -> None:
    """Make the tests of what is there, so that none has to be skipped."""

    def add(case: type[SynchronousTestCase], name: str, test: Callable[..., None]) -> None:
        test.__name__ = "test_" + re.sub(r"\W", "_", name)
        test.__qualname__ = f"{case.__name__}.{test.__name__}"
        setattr(case, test.__name__, test)

    for name in EXPECTED:
        add(DecisionTests, name, _decision_test(name))
        add(RefusalTests, name, _refusal_test(name))
    for name in PUBLISHED:
        add(DecisionTests, f"{name} as published", _published_test(name))
    add(DecisionTests, "table_is_complete", _table_test)


if PAYLOADS.is_dir():
    _add_tests()
