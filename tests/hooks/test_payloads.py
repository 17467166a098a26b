"""Real deliveries of the git hosts, where the folder `shared/payloads` lies beside the checkout.

They are data to run against, not ours to copy: where the folder is absent,
this module has no tests. Each body is signed here, with a secret of the test
and by every method that its git host has.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from attrs import evolve, frozen
from twisted.trial.unittest import SynchronousTestCase

from integralgit.hooks.delivery import Incoming
from integralgit.hooks.receive import Key, receive
from tests.hooks.senders import (
    JSON,
    NOW,
    OTHER,
    SECRET,
    as_it_is,
    basic,
    ed25519,
    hub,
    key,
    public_key,
    refusal,
    standard,
    with_headers,
)

PAYLOADS = Path(__file__).parents[3] / "shared" / "payloads"

Headers = Mapping[str, Sequence[str]]


@frozen
class Method:
    """One way to prove a delivery: the headers that do, the one with the proof among them.

    `filed` makes of the secret what the trust's file holds.
    """

    name: str
    header: str
    sign: Callable[[bytes, bytes, bytes], Headers]
    filed: Callable[[bytes], bytes] = as_it_is

    def key(self, *repos: str, secret: bytes = SECRET, allow_sha1: bool = False) -> Key:
        """The secret, trusted for these repositories."""
        return key(*repos, secret=self.filed(secret), allow_sha1=allow_sha1)


def hexadecimal(document: bytes, secret: bytes) -> str:
    """The signature without a prefix."""
    return hmac.digest(secret, document, hashlib.sha256).hex()


def sha1(body: bytes) -> str:
    """GitHub's older signature."""
    return "sha1=" + hmac.digest(SECRET, body, hashlib.sha1).hex()


# Each takes the body, the JSON that it carries, and the secret.
HUB_256 = Method(
    "hub 256",
    "x-hub-signature-256",
    lambda body, _, secret: {"x-hub-signature-256": [hub(body, secret)]},
)
HUB = Method(
    "hub", "x-hub-signature", lambda body, _, secret: {"x-hub-signature": [hub(body, secret)]}
)
GITEA = Method(
    "gitea",
    "x-gitea-signature",
    lambda _, document, secret: {"x-gitea-signature": [hexadecimal(document, secret)]},
)
FORGEJO = Method(
    "forgejo",
    "x-forgejo-signature",
    lambda _, document, secret: {"x-forgejo-signature": [hexadecimal(document, secret)]},
)
GOGS = Method(
    "gogs",
    "x-gogs-signature",
    lambda _, document, secret: {"x-gogs-signature": [hexadecimal(document, secret)]},
)
TOKEN = Method(
    "token", "x-gitlab-token", lambda _, __, secret: {"x-gitlab-token": [secret.decode("latin-1")]}
)
STANDARD = Method(
    "standard", "webhook-signature", lambda body, _, secret: standard(body, secret, "msg_1")
)
BASIC = Method("basic", "authorization", lambda _, __, secret: {"authorization": [basic(secret)]})
ED25519 = Method(
    "ed25519",
    "x-payload-signature",
    lambda body, _, secret: {
        "x-payload-nonce": ["0011223344556677"],
        "x-payload-signature": [ed25519(body, secret)],
    },
    filed=public_key,
)
ALL = (HUB_256, HUB, GITEA, FORGEJO, GOGS, TOKEN, STANDARD, BASIC, ED25519)

#: By which methods each folder's git host proves its deliveries.
FOLDERS = {
    "github": (HUB_256,),
    "github-enterprise": (HUB_256,),
    "bitbucket": (HUB,),
    "bitbucket-server": (HUB, BASIC),
    "gitea": (GITEA,),
    "gogs": (GOGS,),
    "gitlab": (TOKEN, STANDARD),
    "azure": (BASIC,),
    "sourcehut": (ED25519,),
}
#: What has no header of its own is a plain push by its headers, and these are its proofs.
NEITHER_HERE_NOR_THERE = {"azure": (HUB_256, STANDARD)}

PING = "bitbucket-server/ping_headers_only.json"
#: These do not name their repository; the trust does.
UNNAMED = {"sourcehut/SYNTHETIC_repo_post_update.json": "git.sr.ht/~user/repo"}
#: These have no id of the delivery.
WITHOUT_ID = (
    "gitlab/gad_gitlab_push.json",
    "gitlab/gad_gitlab_secret_token_negative.json",
    "gitlab/gad_gitlab_secret_token_positive.json",
)

#: The secrets of the deliveries that come with their own proof, and what they change.
PUBLISHED = {
    "github/push_form_signed.form": (b"It's a Secret to Everybody", "refs/tags/simple-tag"),
    "github/push_json_signed.json": (b"It's a Secret to Everybody", "refs/tags/simple-tag"),
    "gitea/push_form_signed.form": (b"It's a Secret to Everybody", "refs/heads/master"),
    "gitlab/gad_gitlab_secret_token_negative.json": (b"my-secret-token", "refs/heads/master"),
    "gitlab/gad_gitlab_secret_token_positive.json": (b"my-secret-token", "refs/heads/master"),
    "azure/argo_git_push.json": (b"pass", "refs/heads/master"),
}


@frozen
class Expected:
    """What a delivery is taken for: its event, its repository, and its changes."""

    event: str
    repo: str | None
    changes: tuple[tuple[str, bool], ...] = ()


HELLO = "github.com/Codertocat/Hello-World"
ENTERPRISE = "octocoders.github.io/Codertocat/Hello-World"
EXAMPLE = "localhost:3000/example/example"
TAG, NO_TAG = (("refs/tags/simple-tag", False),), (("refs/tags/simple-tag", True),)
MASTER, MAIN = (("refs/heads/master", False),), (("refs/heads/main", False),)
VERSION = (("refs/tags/v1.0.0", False),)

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
    "bitbucket-server/argo_refs_changed_with_clone_links.json": Expected(
        "repo:refs_changed", "bitbucketserver/MYPROJECT/test-repo", MASTER
    ),
    "bitbucket-server/gp_refs_changed.json": Expected(
        "repo:refs_changed",
        "server.bitbucket.local/~gopher/webhook-test",
        (("refs/heads/feature/wip", True),),
    ),
    PING: Expected("diagnostics:ping", None),
    "gitea/gp_create.json": Expected("create", EXAMPLE),
    "gitea/gp_delete.json": Expected("delete", EXAMPLE),
    "gitea/gp_push.json": Expected("push", EXAMPLE, MASTER),
    "gitea/push_form_signed.form": Expected("push", EXAMPLE, MASTER),
    "gitea/push_no_secret.json": Expected("push", EXAMPLE, MASTER),
    "gogs/docs_push.json": Expected("push", "gogs.example.com/alice/moonlanding", MAIN),
    "gogs/gp_create_event.json": Expected("create", "gogs.example.com/user/repo"),
    "gogs/gp_delete_event.json": Expected("delete", "gogs.example.com/user/repo"),
    "gogs/gp_push_event.json": Expected(
        "push", "localhost:3000/unknwon/webhooks", (("refs/heads/develop", False),)
    ),
    "gitlab/gad_gitlab_push.json": Expected(
        "push", "gitlab.example.com/oliver/poignant-se", MASTER
    ),
    "gitlab/gad_gitlab_secret_token_negative.json": Expected(
        "push", "gitlab.local/oliver/poignant-se", MASTER
    ),
    "gitlab/gad_gitlab_secret_token_positive.json": Expected(
        "push", "gitlab.local/oliver/poignant-se", MASTER
    ),
    "gitlab/gp_push_event.json": Expected("push", "example.com/mike/diaspora", MASTER),
    "gitlab/gp_system_project_created.json": Expected("project_create", None),
    "gitlab/gp_system_push_event.json": Expected("push", "example.com/mike/diaspora", MASTER),
    "gitlab/gp_system_tag_event.json": Expected("tag_push", "example.com/jsmith/example", VERSION),
    "gitlab/gp_system_user_created.json": Expected("user_create", None),
    "gitlab/gp_tag_event.json": Expected("tag_push", "example.com/jsmith/example", VERSION),
    "azure/argo_git_push.json": Expected(
        "git.push", "dev.azure.com/my-org/my-project/my-repo", MASTER
    ),
    "azure/gp_git_push.json": Expected(
        "git.push", "dev.azure.com/fabrikam-fiber-inc/Fabrikam-Fiber-Git/Fabrikam-Fiber-Git", MAIN
    ),
    "sourcehut/SYNTHETIC_repo_post_update.json": Expected(
        "repo:post-update", "git.sr.ht/~user/repo", MASTER
    ),
}


def folder(name: str) -> str:
    """The folder of that delivery."""
    return name.partition("/")[0]


def provider(name: str) -> str:
    """What the door calls the git host of that delivery."""
    return {"github-enterprise": "github"}.get(folder(name), folder(name))


def sent(name: str) -> Incoming:
    """The delivery in that file, with the headers beside it and no proof that we made."""
    headers: dict[str, list[str]] = {}
    for line in (PAYLOADS / name).with_suffix(".headers").read_text("utf-8").splitlines():
        header, _, value = line.partition(":")
        headers.setdefault(header.strip().lower(), []).append(value.strip())
    return Incoming(headers, (PAYLOADS / name).read_bytes(), NOW)


def unsigned(name: str) -> Incoming:
    """The same without any proof that it came with."""
    return with_headers(sent(name), {method.header: None for method in ALL})


def proofs(name: str, method: Method, secret: bytes = SECRET) -> Headers:
    """The headers that prove the delivery by that method."""
    body = (PAYLOADS / name).read_bytes()
    document = body
    if name.endswith(".form"):
        document = unquote_to_bytes(body.removeprefix(b"payload=").replace(b"+", b" "))
    return method.sign(body, document, secret)


def signed(name: str, method: Method, secret: bytes = SECRET) -> Incoming:
    """The delivery with a proof by that method and no other."""
    return with_headers(unsigned(name), proofs(name, method, secret))


def covering(name: str) -> str:
    """The pattern of a trust that covers the delivery's repository."""
    return UNNAMED.get(name, "**")


def _decision_test(name: str, method: Method) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        expected, incoming = EXPECTED[name], signed(name, method)
        delivery = receive(incoming, [method.key(covering(name))])
        changes = tuple((push.ref, push.deleted) for push in delivery.pushes)
        repo = str(delivery.repo) if delivery.repo else None
        self.assertEqual(Expected(delivery.event, repo, changes), expected)
        self.assertEqual(delivery.provider, provider(name))
        if method is not STANDARD:
            self.assertEqual(delivery.id == "", name in WITHOUT_ID, delivery.id)
        if not changes:
            self.assertIn(expected.event, delivery.note)

    test.__doc__ = f"{name}, proved by {method.name}, is taken for what it is."
    return test


def _refusal_test(name: str, method: Method) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        keys = [method.key(covering(name))]
        incoming = signed(name, method)
        right = incoming.header(method.header)
        wrong = proofs(name, method, OTHER)[method.header]
        cases: list[list[str] | None] = [[""], ["sha256="], [right[:-1]], list(wrong)]
        cases += [[right, right], ["", right], [right, ""], [*wrong, right], [f"{right},{right}"]]
        if name != PING:
            cases.append(None)
        for values in cases:
            rejected = refusal(with_headers(incoming, {method.header: values}), keys)
            self.assertEqual(rejected.status, 401, values)

    test.__doc__ = f"{name} without the right proof by {method.name} is refused."
    return test


def _secret_test(name: str, method: Method) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        ours = method.key("**")
        theirs = method.key("github.com/nobody/*", secret=OTHER)
        self.assertEqual(refusal(signed(name, method, OTHER), [ours, theirs]).status, 401)
        self.assertEqual(refusal(signed(name, method, OTHER), [theirs]).status, 401)

    test.__doc__ = f"{name}, proved by {method.name} with another repository's secret, is refused."
    return test


def _elsewhere_test(name: str, method: Method) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        own = {one.header for one in FOLDERS[folder(name)]}
        filed = method.filed(SECRET)
        for other in ALL:
            if other.header in own or other in NEITHER_HERE_NOR_THERE.get(folder(name), ()):
                continue
            for values in (proofs(name, other, filed), proofs(name, other)):
                incoming = with_headers(unsigned(name), values)
                rejected = refusal(incoming, [method.key(covering(name))])
                self.assertEqual(rejected.status, 401, other.name)

    test.__doc__ = f"{name} with a right proof in another git host's header is refused."
    return test


def _sha1_test(name: str, method: Method) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        bare = unsigned(name)
        by_sha1 = with_headers(bare, {"x-hub-signature": [sha1(bare.body)]})
        repos = covering(name)
        self.assertEqual(refusal(by_sha1, [method.key(repos)]).status, 401)
        allowing = [method.key(repos, allow_sha1=True)]
        if provider(name) != "github":
            self.assertEqual(refusal(by_sha1, allowing).status, 401)
            return
        self.assertEqual(receive(by_sha1, allowing).event, EXPECTED[name].event)
        for newer in ("", "sha256=", hub(b""), sha1(bare.body)):
            both = with_headers(by_sha1, {"x-hub-signature-256": [newer]})
            self.assertEqual(refusal(both, allowing).status, 401, newer)
        doubled = with_headers(bare, {"x-hub-signature": [sha1(bare.body)] * 2})
        self.assertEqual(refusal(doubled, allowing).status, 401)

    test.__doc__ = f"{name} by SHA-1 only is refused, unless it is GitHub's and a trust allows it."
    return test


def _published_test(name: str) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        secret, ref = PUBLISHED[name]
        delivery = receive(sent(name), [key("**", secret=secret)])
        self.assertEqual([push.ref for push in delivery.pushes], [ref])
        self.assertEqual(refusal(sent(name), [key("**", secret=secret + b"x")]).status, 401)

    test.__doc__ = f"{name} is proved by what it came with, and by no other secret."
    return test


def _unproved_test(name: str) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        for secret in (SECRET, b"sha256=", b"(ed25519, base64)"):
            self.assertEqual(refusal(sent(name), [key("**", secret=secret)]).status, 401)

    test.__doc__ = (
        f"{name} as it comes, without a proof that we could check, is refused (threat 1)."
    )
    return test


def _ping_test(self: SynchronousTestCase) -> None:
    """The connection test of Bitbucket Data Center, which is not signed, is answered 200."""
    for keys in ([key("**")], [key("github.com/nobody/*")]):
        self.assertEqual(refusal(sent(PING), keys).status, 200)


def _table_test(self: SynchronousTestCase) -> None:
    """Every delivery of the git hosts that lies there is in the table."""
    found = {
        f"{folder}/{path.name}"
        for folder in FOLDERS
        for path in (PAYLOADS / folder).iterdir()
        if path.suffix != ".headers"
    }
    self.assertEqual(found, set(EXPECTED))
    folders = {path.name for path in PAYLOADS.iterdir() if path.is_dir()}
    self.assertEqual(folders - {"hostile", "vectors"}, set(FOLDERS))


def _vector_headers(vector: Mapping[str, Any]) -> Headers:
    """The headers with which a vector's signature comes to its own kind of git host."""
    headers = {"content-type": [JSON], vector["header"].lower(): [vector["value"]]}
    if vector["algo"] == "standard-webhooks-v1":
        headers["webhook-id"] = [vector["id"]]
        headers["webhook-timestamp"] = [str(vector["timestamp"])]
    elif vector["algo"] == "hmac-sha1-hex":
        headers["x-github-event"] = ["push"]
    elif vector["header"] == "X-Hub-Signature":
        headers["x-event-key"] = ["repo:push"]
    return headers


def _vector_test(vector: Mapping[str, Any]) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        secret, body = vector["secret"].encode(), vector["body"].encode()
        incoming = Incoming(_vector_headers(vector), body, vector.get("timestamp", 0))
        # What is proved is read, and none of these bodies is a push.
        keys = [key("**", secret=secret, allow_sha1=vector["algo"] == "hmac-sha1-hex")]
        self.assertEqual(refusal(incoming, keys).status, 400 if vector["ok"] else 401)
        self.assertEqual(refusal(incoming, [key("**", secret=secret + b"x")]).status, 401)
        self.assertEqual(refusal(evolve(incoming, body=body + b" "), keys).status, 401)

    test.__doc__ = f"The published signature {vector['name']} is as good as it is said to be."
    return test


class DecisionTests(SynchronousTestCase):
    """One test for each delivery and each method, made below; as in the other cases."""


class RefusalTests(SynchronousTestCase):
    """Without the right proof."""


class SecretTests(SynchronousTestCase):
    """With the right proof of another."""


class ElsewhereTests(SynchronousTestCase):
    """With the right proof in the wrong place."""


class Sha1Tests(SynchronousTestCase):
    """With a proof of the older kind."""


class VectorTests(SynchronousTestCase):
    """With proofs that others published."""


def _add(case: type[SynchronousTestCase], name: str, test: Callable[..., None]) -> None:
    test.__name__ = "test_" + re.sub(r"\W+", "_", name)
    test.__qualname__ = f"{case.__name__}.{test.__name__}"
    assert not hasattr(case, test.__name__), test.__name__
    setattr(case, test.__name__, test)


def _add_tests() -> None:
    """Make the tests of what is there, so that none has to be skipped."""
    for name, expected in EXPECTED.items():
        methods = FOLDERS[folder(name)]
        for method in methods:
            by = f"{name} by {method.name}"
            if name != PING or method is HUB:
                _add(DecisionTests, by, _decision_test(name, method))
                _add(RefusalTests, by, _refusal_test(name, method))
            if expected.repo is not None and name not in UNNAMED:
                _add(SecretTests, by, _secret_test(name, method))
        if name != PING:
            _add(ElsewhereTests, name, _elsewhere_test(name, methods[0]))
            _add(RefusalTests, f"{name} as it comes", _unproved_test(name))
        _add(Sha1Tests, name, _sha1_test(name, methods[0]))
    for name in PUBLISHED:
        _add(DecisionTests, f"{name} as published", _published_test(name))
    _add(DecisionTests, "unsigned_ping", _ping_test)
    _add(DecisionTests, "table_is_complete", _table_test)
    vectors = json.loads((PAYLOADS / "vectors" / "signatures.json").read_text("utf-8"))
    for number, vector in enumerate(vectors):
        if vector["algo"] in ("hmac-sha256-hex", "hmac-sha1-hex", "standard-webhooks-v1"):
            _add(VectorTests, f"{number} {vector['name']}", _vector_test(vector))


if PAYLOADS.is_dir():
    _add_tests()
