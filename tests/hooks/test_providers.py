"""The other git hosts: what their deliveries say, and which repository they are about."""

from __future__ import annotations

import base64
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from integralgit.hooks.delivery import Commit, Delivery, Incoming, Push
from integralgit.hooks.receive import receive
from integralgit.names import Repository, https_url, repository_of_url
from tests.hooks.senders import (
    KEYS,
    NEW,
    NOW,
    OLD,
    OTHER,
    SECRET,
    SENDERS,
    ZERO,
    Document,
    azure,
    azure_push,
    azure_update,
    basic,
    bitbucket_server,
    bitbucket_server_basic,
    bitbucket_server_change,
    bitbucket_server_push,
    ed25519,
    encoded,
    forgejo,
    form,
    gitea,
    gitea_form,
    gitea_push,
    gitlab,
    gitlab_push,
    gitlab_standard,
    gogs,
    hub,
    key,
    plain,
    plain_push,
    plain_standard,
    public_key,
    refusal,
    sourcehut,
    sourcehut_push,
    sourcehut_ref,
    standard,
    summary,
    with_headers,
)

MOVED = ("refs/heads/main", OLD, NEW, False)


def statuses(wrong: list[Document], build: Any, send: Any) -> dict[int, list[Document]]:
    """With which status each of these changed pushes is refused."""
    found: dict[int, list[Document]] = {}
    for changes in wrong:
        status = refusal(send(encoded(build(**changes)))).status
        found.setdefault(status, []).append(changes)
    return found


class GitLabTests(SynchronousTestCase):
    def test_push(self) -> None:
        """A push is read with its commits, its pusher, and the id that stays over retries."""
        self.assertEqual(
            receive(gitlab(encoded(gitlab_push())), KEYS),
            Delivery(
                "gitlab",
                "push",
                "f5e57fe0-0000-11ee-8000-0123456789ab",
                Repository("gitlab.com", "acme/site"),
                (
                    Push(
                        "refs/heads/main",
                        before=OLD,
                        after=NEW,
                        pusher="Ann",
                        commits=(Commit(NEW, "Say hello", "Ann"),),
                        whole=True,
                    ),
                ),
            ),
        )

    def test_whether_the_commits_are_all(self) -> None:
        """GitLab says how many there are, for it lists only the newest."""
        for count, whole in ((1, True), (30, False), (None, False)):
            pushed = gitlab_push(total_commits_count=count)
            (push,) = receive(gitlab(encoded(pushed)), KEYS).pushes
            self.assertEqual(push.whole, whole, count)

    def test_the_older_id(self) -> None:
        """Where the key for retries is not sent, the id is that of the event."""
        incoming = with_headers(SENDERS["gitlab"].usual(), {"idempotency-key": None})
        self.assertEqual(receive(incoming, KEYS).id, "13792a34-0000-11ee-8000-0123456789ab")

    def test_signing_headers(self) -> None:
        """Signed by Standard Webhooks it is the same delivery, also with a `whsec_` secret."""
        body = encoded(gitlab_push())
        self.assertEqual(receive(gitlab_standard(body), KEYS), receive(gitlab(body), KEYS))
        raw = bytes(range(32))
        secret = b"whsec_" + base64.b64encode(raw)
        delivery = receive(gitlab_standard(body, raw), [key("**", secret=secret)])
        self.assertEqual(summary(delivery), [MOVED])

    def test_a_token_does_not_make_up_for_a_wrong_signature(self) -> None:
        """Where signing headers are sent, they alone count."""
        incoming = SENDERS["gitlab"].usual()
        wrong = with_headers(incoming, standard(b"another body"))
        self.assertEqual(refusal(wrong).status, 401)
        empty = with_headers(incoming, {"webhook-signature": [""]})
        self.assertEqual(refusal(empty).status, 401)
        both = with_headers(
            SENDERS["gitlab, standard"].usual(), {"x-gitlab-token": ["something else"]}
        )
        self.assertEqual(summary(receive(both, KEYS)), [MOVED])

    def test_a_token_with_other_bytes(self) -> None:
        """The token is compared as bytes: Latin-1, UTF-8 or plain nonsense (threat 6)."""
        secret = "gehëim".encode()
        incoming = with_headers(
            SENDERS["gitlab"].usual(), {"x-gitlab-token": [secret.decode("latin-1")]}
        )
        self.assertEqual(summary(receive(incoming, [key("**", secret=secret)])), [MOVED])
        for sender in SENDERS.values():
            for given in ("gehëim", "\xff\xfe", "é" * 64, "\u20ac", "\ud800"):
                odd = with_headers(sender.usual(), {sender.proof: [given]})
                self.assertEqual(refusal(odd).status, 401, ascii(given))

    def test_tag(self) -> None:
        """A tag's push comes as an event of its own and keeps its full ref."""
        pushed = gitlab_push(
            object_kind="tag_push", event_name="tag_push", ref="refs/tags/main", before=ZERO
        )
        delivery = receive(gitlab(encoded(pushed), event="Tag Push Hook"), KEYS)
        self.assertEqual(delivery.event, "tag_push")
        self.assertEqual(summary(delivery), [("refs/tags/main", None, NEW, False)])

    def test_deletion(self) -> None:
        """A deletion is shown by zeros after it."""
        pushed = gitlab_push(after=ZERO, checkout_sha=None, commits=[])
        self.assertEqual(
            summary(receive(gitlab(encoded(pushed)), KEYS)), [("refs/heads/main", OLD, None, True)]
        )

    def test_system_hook(self) -> None:
        """A system hook names its event in another field, and its push counts as well."""
        pushed = gitlab_push()
        del pushed["object_kind"]
        delivery = receive(gitlab(encoded(pushed), event="System Hook"), KEYS)
        self.assertEqual((delivery.event, summary(delivery)), ("push", [MOVED]))

    def test_other_events(self) -> None:
        """Any other event is let in and says why it does nothing, with and without a project."""
        project = gitlab_push()["project"]
        for told, kind, repo in (
            ({"object_kind": "merge_request", "project": project}, "merge_request", True),
            ({"event_name": "user_create"}, "user_create", False),
            ({"event_name": "repository_update", "project": None}, "repository_update", False),
            ({"object_kind": "__init__"}, "__init__", False),
            ({}, "without a name", False),
        ):
            delivery = receive(gitlab(encoded(told), event="System Hook"), KEYS)
            self.assertEqual(delivery.pushes, ())
            self.assertIn(kind, delivery.note)
            self.assertEqual(delivery.repo is not None, repo, kind)

    def test_subgroups(self) -> None:
        """A project may lie in groups within groups, on a host of one's own."""
        project = {"path_with_namespace": "a/b/c/d", "web_url": "https://git.example.com:8443/x"}
        delivery = receive(gitlab(encoded(gitlab_push(project=project))), KEYS)
        self.assertEqual(delivery.repo, Repository("git.example.com:8443", "a/b/c/d"))

    def test_wrong_shapes(self) -> None:
        """A used field of the wrong kind, or missing, is answered 400."""
        project = gitlab_push()["project"]
        wrong: list[Document] = [
            {"object_kind": 5},
            {"object_kind": None, "event_name": []},
            {"project": None},
            {"project": []},
            {"project": {**project, "path_with_namespace": 5}},
            {"project": {**project, "path_with_namespace": "acme/../site"}},
            {"project": {**project, "web_url": "acme/site"}},
            {"ref": None},
            {"ref": []},
            {"before": None},
            {"after": None},
            {"after": "main"},
            {"user_name": {}},
            {"commits": {}},
            {"commits": [{"id": 5}]},
            {"commits": [{"id": NEW, "author": "Ann"}]},
        ]
        self.assertEqual(statuses(wrong, gitlab_push, gitlab), {400: wrong})

    def test_identity(self) -> None:
        """The URL is built of the identity, and is that of the same repository."""
        repo = receive(SENDERS["gitlab"].usual(), KEYS).repo
        assert repo is not None
        self.assertEqual(https_url(repo, "gitlab"), "https://gitlab.com/acme/site.git")
        self.assertEqual(repository_of_url(https_url(repo, "gitlab")), repo)


class LikeGiteaTests(SynchronousTestCase):
    """Gitea, Forgejo and Gogs."""

    def test_push(self) -> None:
        """A push is read with its commits, its pusher and the provider's own id."""
        for name in ("forgejo", "gitea", "gogs"):
            self.assertEqual(
                receive(SENDERS[name].usual(), KEYS),
                Delivery(
                    name,
                    "push",
                    f"of-{name}",
                    Repository("git.example.com", "acme/site"),
                    (
                        Push(
                            "refs/heads/main",
                            before=OLD,
                            after=NEW,
                            pusher="ann",
                            commits=(Commit(NEW, "Say hello", "Ann"),),
                        ),
                    ),
                ),
            )

    def test_whether_the_commits_are_all(self) -> None:
        """How many are listed is the owner's setting; so they are all where Gitea counts as many."""
        for count, whole in ((1, True), (9, False), (None, False)):
            (push,) = receive(gitea(encoded(gitea_push(total_commits=count))), KEYS).pushes
            self.assertEqual(push.whole, whole, count)

    def test_form(self) -> None:
        """A form is the same delivery, proved over the JSON in it."""
        self.assertEqual(
            receive(SENDERS["gitea as a form"].usual(), KEYS),
            receive(SENDERS["gitea"].usual(), KEYS),
        )

    def test_form_signed_as_it_is_sent(self) -> None:
        """A signature over the form itself, as GitHub makes it, proves nothing here."""
        body = form(encoded(gitea_push()))
        digest = hub(body).removeprefix("sha256=")
        incoming = with_headers(gitea_form(body), {"x-gitea-signature": [digest]})
        self.assertEqual(refusal(incoming).status, 401)

    def test_forms_that_are_none(self) -> None:
        """A form without exactly one field `payload` cannot be proved."""
        document = encoded(gitea_push())
        usual = gitea_form(form(document))
        for body in (b"", b"x=1", document, form(document) + b"&" + form(document)):
            self.assertEqual(refusal(evolve(usual, body=body)).status, 401, body[:40])

    def test_only_the_own_header_counts(self) -> None:
        """Of the signatures that a delivery carries, that of the most particular host decides."""
        order = ("forgejo", "gitea", "gogs")
        for name in order:
            usual = SENDERS[name].usual()
            own = f"x-{name}-signature"
            for values in (None, [""], ["0" * 64], ["sha256=" + usual.header(own)]):
                incoming = with_headers(usual, {own: values})
                self.assertEqual(refusal(incoming).status, 401, f"{name} {values}")
            others = {
                header: ["0" * 64]
                for header in usual.headers
                if "signature" in header and header != own
            }
            self.assertEqual(receive(with_headers(usual, others), KEYS).provider, name)

    def test_github_signatures_do_not_count(self) -> None:
        """GitHub's headers and a right signature of its kind do not make a delivery of GitHub."""
        for name in ("forgejo", "gitea", "gogs"):
            usual = SENDERS[name].usual()
            headers: dict[str, list[str] | None] = {
                "x-hub-signature-256": [hub(usual.body)],
                f"x-{name}-signature": None,
            }
            self.assertEqual(refusal(with_headers(usual, headers)).status, 401, name)

    def test_sha1_does_not_count_even_where_it_is_allowed(self) -> None:
        """Their SHA-1 header is GitHub's, and nothing of theirs."""
        keys = [key("**", allow_sha1=True)]
        usual = SENDERS["gitea"].usual()
        self.assertTrue(usual.header("x-hub-signature").startswith("sha1="))
        headers = {"x-gitea-signature": None, "x-hub-signature-256": None}
        self.assertEqual(refusal(with_headers(usual, headers), keys).status, 401)

    def test_a_hook_without_a_secret(self) -> None:
        """The empty signatures of a hook without a secret prove nothing (threat 3)."""
        for send in (forgejo, gitea, gogs):
            usual = send(encoded(gitea_push()))
            empty = {
                header: ["sha256=" if header == "x-hub-signature-256" else ""]
                for header in usual.headers
                if "signature" in header
            }
            self.assertEqual(refusal(with_headers(usual, empty)).status, 401)

    def test_other_events(self) -> None:
        """A branch or tag that is made or deleted comes as an event besides, and does nothing."""
        document = {"ref": "v1", "ref_type": "tag", "repository": gitea_push()["repository"]}
        for send in (forgejo, gitea, gogs):
            for event in ("create", "delete", "__class__", ""):
                delivery = receive(send(encoded(document), event=event), KEYS)
                self.assertEqual((delivery.event, delivery.pushes), (event, ()))
                self.assertEqual(str(delivery.repo), "git.example.com/acme/site")
                self.assertIn(event or "without a name", delivery.note)

    def test_deletion_and_tag(self) -> None:
        """They do not say `deleted`; zeros do. A tag keeps its full ref."""
        for changes, wanted in (
            ({"after": ZERO}, ("refs/heads/main", OLD, None, True)),
            ({"ref": "refs/tags/main", "before": ZERO}, ("refs/tags/main", None, NEW, False)),
        ):
            delivery = receive(gitea(encoded(gitea_push(**changes))), KEYS)
            self.assertEqual(summary(delivery), [wanted])

    def test_identity(self) -> None:
        """The host is that of the repository's page, and the URL is built of the identity."""
        page = {"full_name": "acme/site", "html_url": "http://localhost:3000/acme/site"}
        delivery = receive(gogs(encoded(gitea_push(repository=page))), KEYS)
        self.assertEqual(delivery.repo, Repository("localhost:3000", "acme/site"))
        repo = receive(SENDERS["gitea"].usual(), KEYS).repo
        assert repo is not None
        self.assertEqual(https_url(repo, "gitea"), "https://git.example.com/acme/site.git")
        self.assertEqual(repository_of_url(https_url(repo, "gitea")), repo)


class BitbucketServerTests(SynchronousTestCase):
    def test_push(self) -> None:
        """A push is read with its pusher and its id, whichever way it is proved."""
        wanted = Delivery(
            "bitbucket-server",
            "repo:refs_changed",
            "5c0ffee0-0000-11ee-8000-0123456789ab",
            Repository("git.example.com", "ACME/site"),
            (Push("refs/heads/main", before=OLD, after=NEW, pusher="Ann"),),
            "the delivery changes no ref",
        )
        for send in (bitbucket_server, bitbucket_server_basic):
            self.assertEqual(receive(send(encoded(bitbucket_server_push())), KEYS), wanted)

    def test_a_password_does_not_make_up_for_a_wrong_signature(self) -> None:
        """Where a signature is sent, even an empty one, it alone counts (threat 2)."""
        usual = SENDERS["bitbucket server"].usual()
        for given in ("", "sha256=", hub(b"")):
            headers = {"x-hub-signature": [given], "authorization": [basic()]}
            self.assertEqual(refusal(with_headers(usual, headers)).status, 401, given)

    def test_several_changes(self) -> None:
        """Every change of one delivery counts, in order: branches, tags, deletions (threat 19)."""
        pushed = bitbucket_server_push(
            bitbucket_server_change("refs/heads/main"),
            bitbucket_server_change("refs/heads/feature/x", before=ZERO),
            bitbucket_server_change("refs/heads/gone", after=ZERO),
            bitbucket_server_change("refs/tags/main", before=ZERO),
            {**bitbucket_server_change("refs/heads/odd"), "type": "DELETE"},
        )
        self.assertEqual(
            summary(receive(bitbucket_server(encoded(pushed)), KEYS)),
            [
                MOVED,
                ("refs/heads/feature/x", None, NEW, False),
                ("refs/heads/gone", OLD, None, True),
                ("refs/tags/main", None, NEW, False),
                ("refs/heads/odd", OLD, NEW, True),
            ],
        )

    def test_no_changes(self) -> None:
        """A delivery without changes is let in and says why it does nothing."""
        pushed = bitbucket_server_push()
        delivery = receive(bitbucket_server(encoded({**pushed, "changes": []})), KEYS)
        self.assertEqual(delivery.pushes, ())
        self.assertNotEqual(delivery.note, "")

    def test_no_links(self) -> None:
        """An old version does not tell its host; without a repository nothing is pushed."""
        repo = bitbucket_server_push()["repository"]
        without: list[Any] = [None, {}, {"clone": None}, {"clone": [], "self": []}]
        for links in without:
            pushed = bitbucket_server_push(repository={**repo, "links": links})
            delivery = receive(bitbucket_server(encoded(pushed)), KEYS)
            self.assertEqual((delivery.repo, delivery.pushes), (None, ()))
            self.assertIn("host", delivery.note)
        only_ssh = {"clone": [{"href": "ssh://git@git.example.com:7999/acme/site.git"}]}
        pushed = bitbucket_server_push(repository={**repo, "links": only_ssh})
        self.assertEqual(receive(bitbucket_server(encoded(pushed)), KEYS).repo, None)

    def test_clone_links_alone(self) -> None:
        """Where there is no page, the host is that of the clone URL."""
        repo = bitbucket_server_push()["repository"]
        links = {"clone": repo["links"]["clone"]}
        pushed = bitbucket_server_push(repository={**repo, "links": links})
        delivery = receive(bitbucket_server(encoded(pushed)), KEYS)
        self.assertEqual(str(delivery.repo), "git.example.com/ACME/site")

    def test_ping(self) -> None:
        """The connection test needs no signature and does nothing; a wrong one is refused."""
        ping = bitbucket_server(encoded({"test": True}), event="diagnostics:ping")
        unsigned = with_headers(ping, {"x-hub-signature": None})
        self.assertEqual(refusal(unsigned).status, 200)
        self.assertEqual(receive(ping, KEYS).pushes, ())
        wrong = with_headers(ping, {"x-hub-signature": [hub(b"")]})
        self.assertEqual(refusal(wrong).status, 401)

    def test_a_ping_lets_nothing_else_in(self) -> None:
        """A push that calls itself a ping, or that comes beside one, is not taken in."""
        body = encoded(bitbucket_server_push())
        unsigned = with_headers(
            bitbucket_server(body, event="diagnostics:ping"), {"x-hub-signature": None}
        )
        self.assertEqual(refusal(unsigned).status, 200)
        both = with_headers(unsigned, {"x-event-key": ["diagnostics:ping", "repo:refs_changed"]})
        self.assertEqual(refusal(both).status, 401)

    def test_other_events(self) -> None:
        """Any other event is let in and says why it does nothing."""
        repo = bitbucket_server_push()["repository"]
        for told, wanted in (
            ({"repository": repo}, "git.example.com/ACME/site"),
            ({"pullRequest": {}}, "None"),
            ({"repository": None}, "None"),
        ):
            delivery = receive(bitbucket_server(encoded(told), event="pr:merged"), KEYS)
            self.assertEqual((str(delivery.repo), delivery.pushes), (wanted, ()))
            self.assertIn("pr:merged", delivery.note)

    def test_wrong_shapes(self) -> None:
        """A used field of the wrong kind, or missing, is answered 400."""
        repo, change = bitbucket_server_push()["repository"], bitbucket_server_change("x")
        wrong: list[Document] = [
            {"repository": None},
            {"repository": {**repo, "slug": None}},
            {"repository": {**repo, "slug": ".."}},
            {"repository": {**repo, "project": None}},
            {"repository": {**repo, "project": {"key": "A/../B"}}},
            {"repository": {**repo, "links": {"clone": "x"}}},
            {"repository": {**repo, "links": {"clone": [{"href": None}]}}},
            {"repository": {**repo, "links": {"self": [{"href": "https://[/"}]}}},
            {"repository": {**repo, "links": {"self": [{"href": "https://-o/"}]}}},
            {"changes": None},
            {"changes": {}},
            {"changes": [None]},
            {"changes": [{**change, "ref": "refs/heads/main"}]},
            {"changes": [{**change, "ref": {"id": None}}]},
            {"changes": [{**change, "toHash": None}]},
            {"changes": [{**change, "toHash": "main"}]},
            {"changes": [{**change, "fromHash": "main"}]},
            {"changes": [{**change, "type": 5}]},
            {"actor": "ann"},
        ]
        self.assertEqual(statuses(wrong, bitbucket_server_push, bitbucket_server), {400: wrong})

    def test_identity(self) -> None:
        """Over https its repositories lie below `scm`, personal ones below a tilde."""
        for full_name, url in (
            ("ACME/site", "https://git.example.com/scm/ACME/site.git"),
            ("~ann/site", "https://git.example.com/scm/~ann/site.git"),
        ):
            repo = Repository("git.example.com", full_name)
            self.assertEqual(https_url(repo, "bitbucket-server"), url)


class AzureTests(SynchronousTestCase):
    def repo_of(self, url: str, name: str = "site", project: str = "web") -> str:
        """The identity of a repository with that URL."""
        told = {"name": name, "remoteUrl": url, "project": {"name": project}}
        return str(receive(azure(encoded(azure_push(repository=told))), KEYS).repo)

    def test_push(self) -> None:
        """A push is read with its commits, its pusher and the id in its body."""
        self.assertEqual(
            receive(azure(encoded(azure_push())), KEYS),
            Delivery(
                "azure",
                "git.push",
                "a0a0a0a0-0000-11ee-8000-0123456789ab",
                Repository("dev.azure.com", "acme/web/site"),
                (
                    Push(
                        "refs/heads/main",
                        before=OLD,
                        after=NEW,
                        pusher="Ann",
                        commits=(Commit(NEW, "Say hello", "Ann"),),
                    ),
                ),
                "the delivery changes no ref",
            ),
        )

    def test_several_updates(self) -> None:
        """Every update of one delivery counts, in order: branches, tags, deletions (threat 19)."""
        pushed = azure_push(
            azure_update("refs/heads/main"),
            azure_update("refs/heads/new", before=ZERO),
            azure_update("refs/heads/gone", after=ZERO),
            azure_update("refs/tags/main"),
        )
        self.assertEqual(
            summary(receive(azure(encoded(pushed)), KEYS)),
            [
                MOVED,
                ("refs/heads/new", None, NEW, False),
                ("refs/heads/gone", OLD, None, True),
                ("refs/tags/main", OLD, NEW, False),
            ],
        )

    def test_no_updates(self) -> None:
        """A delivery whose updates are empty or missing is let in and says why it does nothing."""
        without: list[Any] = [[], None]
        for told in without:
            delivery = receive(azure(encoded(azure_push(refUpdates=told))), KEYS)
            self.assertEqual(delivery.pushes, ())
            self.assertNotEqual(delivery.note, "")

    def test_fields_that_may_be_missing(self) -> None:
        """Commits, their authors and the pusher are told where they are told."""
        for changes, wanted in (
            ({"commits": None, "pushedBy": None}, ()),
            ({"commits": [{"commitId": NEW}], "pushedBy": {}}, (Commit(NEW),)),
            ({"commits": [{"commitId": "x"}, {"commitId": NEW}], "pushedBy": {}}, (Commit(NEW),)),
        ):
            (push,) = receive(azure(encoded(azure_push(**changes))), KEYS).pushes
            self.assertEqual((push.commits, push.pusher), (wanted, ""))

    def test_no_repository(self) -> None:
        """A delivery without a repository changes nothing here."""
        delivery = receive(azure(encoded(azure_push(repository=None))), KEYS)
        self.assertEqual((delivery.repo, delivery.pushes), (None, ()))
        self.assertIn("repository", delivery.note)

    def test_identities(self) -> None:
        """Organisation, project and repository make the identity, in all forms of the URL."""
        for url in (
            "https://dev.azure.com/acme/web/_git/site",
            "https://acme@dev.azure.com/acme/web/_git/site",
            "https://acme.visualstudio.com/web/_git/site",
            "https://acme.VisualStudio.com/web/_git/site",
            "https://acme.visualstudio.com/DefaultCollection/web/_git/site",
        ):
            self.assertEqual(self.repo_of(url), "dev.azure.com/acme/web/site", url)

    def test_a_project_called_like_the_repository(self) -> None:
        """The URL leaves that project out; the identity does not."""
        for url in (
            "https://dev.azure.com/acme/_git/site",
            "https://acme.visualstudio.com/_git/site",
            "https://acme.visualstudio.com/DefaultCollection/_git/site",
        ):
            self.assertEqual(self.repo_of(url, project="site"), "dev.azure.com/acme/site/site", url)

    def test_spaces(self) -> None:
        """Projects and repositories may have spaces in their names, and their URL shows them."""
        url = "https://dev.azure.com/acme/My%20Web/_git/The%20Site"
        identity = self.repo_of(url, "The Site", "My Web")
        self.assertEqual(identity, "dev.azure.com/acme/My Web/The Site")
        repo = Repository("dev.azure.com", "acme/My Web/The Site")
        self.assertEqual(https_url(repo, "azure"), url)
        self.assertEqual(repository_of_url(url), repo)

    def test_a_server_of_ones_own(self) -> None:
        """Azure DevOps Server has collections below its host."""
        url = "https://tfs.example.com/tfs/Main/web/_git/site"
        self.assertEqual(self.repo_of(url), "tfs.example.com/tfs/Main/web/site")
        repo = Repository("tfs.example.com", "tfs/Main/web/site")
        self.assertEqual(https_url(repo, "azure"), url)

    def test_other_events(self) -> None:
        """Any other event is let in and says why it does nothing."""
        for kind in ("build.complete", "__init__", ""):
            body = encoded({"eventType": kind, "id": "x", "resource": []})
            delivery = receive(azure(body), KEYS)
            self.assertEqual((delivery.event, delivery.id, delivery.pushes), (kind, "x", ()))
            self.assertIn(kind or "without a name", delivery.note)

    def test_wrong_shapes(self) -> None:
        """A used field of the wrong kind, or missing, is answered 400."""
        repo = azure_push()["resource"]["repository"]
        wrong: list[Document] = [
            {"repository": "site"},
            {"repository": {**repo, "name": None}},
            {"repository": {**repo, "name": "../x"}},
            {"repository": {**repo, "name": "-x"}},
            {"repository": {**repo, "remoteUrl": None}},
            {"repository": {**repo, "remoteUrl": "site"}},
            {"repository": {**repo, "remoteUrl": "https://["}},
            {"repository": {**repo, "remoteUrl": "https://dev.azure.com/%2e%2e/web/_git/site"}},
            {"refUpdates": {}},
            {"refUpdates": [None]},
            {"refUpdates": [{"oldObjectId": OLD, "newObjectId": NEW}]},
            {"refUpdates": [{"name": [], "newObjectId": NEW}]},
            {"refUpdates": [azure_update("refs/heads/main", after="main")]},
            {"refUpdates": [azure_update("refs/heads/main", before="main")]},
            {"commits": {}},
            {"commits": [{"comment": "without an id"}]},
            {"pushedBy": "Ann"},
        ]
        self.assertEqual(statuses(wrong, azure_push, azure), {400: wrong})
        documents: list[Document] = [
            {"resource": {}},
            {"eventType": 5},
            {"eventType": "git.push"},
            {"eventType": "git.push", "resource": None},
            {**azure_push(), "id": "x" * 201},
        ]
        for document in documents:
            self.assertEqual(refusal(azure(encoded(document))).status, 400, document)


class SourcehutTests(SynchronousTestCase):
    #: What an administrator writes for one repository.
    ONE = (key("git.sr.ht/~acme/site", secret=public_key(SECRET)),)

    def unnamed(self) -> Incoming:
        """A push that does not name its repository, as the older hooks send it."""
        document = sourcehut_push()
        del document["repository"]
        return sourcehut(encoded(document))

    def test_push(self) -> None:
        """A push is read with its newest commit, its pusher and its id."""
        self.assertEqual(
            receive(sourcehut(encoded(sourcehut_push())), KEYS),
            Delivery(
                "sourcehut",
                "repo:post-update",
                "50b1c3d0-0000-11ee-8000-0123456789ab",
                Repository("git.sr.ht", "~acme/site"),
                (
                    Push(
                        "refs/heads/main",
                        before=OLD,
                        after=NEW,
                        pusher="~ann",
                        commits=(Commit(NEW, "Say hello", "Ann"),),
                    ),
                ),
                "the delivery changes no ref",
            ),
        )

    def test_several_refs(self) -> None:
        """Every ref of one delivery counts, in order: branches, tags, deletions (threat 19)."""
        pushed = sourcehut_push(
            sourcehut_ref("refs/heads/main"),
            sourcehut_ref("refs/heads/new", before=None),
            sourcehut_ref("refs/heads/gone", after=None),
            sourcehut_ref("refs/tags/main"),
        )
        self.assertEqual(
            summary(receive(sourcehut(encoded(pushed)), KEYS)),
            [
                MOVED,
                ("refs/heads/new", None, NEW, False),
                ("refs/heads/gone", OLD, None, True),
                ("refs/tags/main", OLD, NEW, False),
            ],
        )

    def test_unnamed(self) -> None:
        """A delivery that names no repository is for the one that its trust names."""
        delivery = receive(self.unnamed(), self.ONE)
        self.assertEqual(delivery, receive(SENDERS["sourcehut"].usual(), KEYS))

    def test_unnamed_and_a_trust_that_names_no_single_one(self) -> None:
        """Where the trust has a pattern, or several names, nothing is pushed."""
        for repos in (
            ("git.sr.ht/~acme/*",),
            ("**",),
            ("git.sr.ht/~acme/site?",),
            ("git.sr.ht/~acme/one", "git.sr.ht/~acme/two"),
            (),
        ):
            delivery = receive(self.unnamed(), [key(*repos, secret=public_key(SECRET))])
            self.assertEqual((delivery.repo, delivery.pushes), (None, ()), repos)
            self.assertIn("names", delivery.note)

    def test_unnamed_and_two_trusts_of_one_key(self) -> None:
        """All trusts of the key count: two of them name two repositories, which is too many."""
        keys = [*self.ONE, key("git.sr.ht/~acme/other", secret=public_key(SECRET))]
        self.assertEqual(receive(self.unnamed(), keys).pushes, ())
        theirs = key("git.sr.ht/~acme/other", secret=public_key(OTHER))
        self.assertEqual(summary(receive(self.unnamed(), [*self.ONE, theirs])), [MOVED])

    def test_named_and_not_covered(self) -> None:
        """A delivery that names its repository is not taken for the one that the trust names."""
        keys = [key("git.sr.ht/~acme/other", secret=public_key(SECRET))]
        self.assertEqual(refusal(SENDERS["sourcehut"].usual(), keys).status, 401)

    def test_signatures_that_are_none(self) -> None:
        """Only the whole signature by the right key over this body and nonce proves it."""
        usual = SENDERS["sourcehut"].usual()
        right = usual.header("x-payload-signature")
        for given in (
            "",
            "!",
            "é",
            right[:-4],
            right.rstrip("="),
            right + "\n",
            " " + right,
            right + right,
            ed25519(usual.body, OTHER),
            ed25519(usual.body + b" "),
            ed25519(usual.body, nonce="0011223344556678"),
            hub(usual.body),
            hub(usual.body, public_key(SECRET)),
        ):
            incoming = with_headers(usual, {"x-payload-signature": [given]})
            self.assertEqual(refusal(incoming).status, 401, given)
        for nonce in (None, [""], ["1"], ["0011223344556677"] * 2):
            incoming = with_headers(usual, {"x-payload-nonce": nonce})
            self.assertEqual(refusal(incoming).status, 401, nonce)
        self.assertEqual(refusal(evolve(usual, body=usual.body + b" ")).status, 401)

    def test_keys_that_are_none(self) -> None:
        """A file that does not hold a public key of 32 bytes proves nothing."""
        usual = SENDERS["sourcehut"].usual()
        right = public_key(SECRET)
        for filed in (
            b"whpk_",
            b"whpk_AAAA",
            b"whpk_!",
            right[:-4],
            right.removeprefix(b"whpk_"),
            SECRET,
        ):
            self.assertEqual(refusal(usual, [key("**", secret=filed)]).status, 401, filed)

    def test_a_public_key_proves_nothing_else(self) -> None:
        """Everybody knows the public key, so nobody gets in by using it as a secret."""
        public = public_key(SECRET)
        for filed in (public, public.removeprefix(b"whpk_")):
            keys = [key("**", secret=public)]
            for name, sender in SENDERS.items():
                if name != "sourcehut":
                    self.assertEqual(refusal(sender.usual(filed), keys).status, 401, name)

    def test_other_events(self) -> None:
        """Any other event is let in and says why it does nothing."""
        for event in ("repo:update", "__init__", ""):
            delivery = receive(sourcehut(encoded({}), event=event), KEYS)
            self.assertEqual((delivery.event, delivery.pushes), (event, ()))
            self.assertIn(event or "without a name", delivery.note)

    def test_wrong_shapes(self) -> None:
        """A used field of the wrong kind is answered 400."""
        ref = sourcehut_ref("refs/heads/main")
        wrong: list[Document] = [
            {"repository": "~acme/site"},
            {"repository": {"name": "site"}},
            {"repository": {"name": "..", "owner": {"canonical_name": "~acme"}}},
            {"repository": {"name": "site", "owner": {"canonical_name": None}}},
            {"refs": {}},
            {"refs": [None]},
            {"refs": [{**ref, "name": None}]},
            {"refs": [{**ref, "new": NEW}]},
            {"refs": [{**ref, "new": {"id": "main"}}]},
            {"refs": [{**ref, "old": {"id": 5}}]},
            {"pusher": "ann"},
        ]
        self.assertEqual(statuses(wrong, sourcehut_push, sourcehut), {400: wrong})

    def test_identity(self) -> None:
        """The URL has a tilde and no suffix, and is that of the same repository."""
        repo = Repository("git.sr.ht", "~acme/site")
        for provider in ("sourcehut", ""):
            self.assertEqual(https_url(repo, provider), "https://git.sr.ht/~acme/site")
        self.assertEqual(repository_of_url("https://git.sr.ht/~acme/site"), repo)
        self.assertEqual(repository_of_url("git@git.sr.ht:~acme/site"), repo)


class DoorTests(SynchronousTestCase):
    """What holds for all of them."""

    def test_the_body_chooses_no_url(self) -> None:
        """Nothing of a delivery but the identity is left, and the URL comes of that alone."""
        for name, sender in SENDERS.items():
            delivery = receive(sender.usual(), KEYS)
            self.assertNotIn("evil", str(delivery), name)
            assert delivery.repo is not None
            self.assertNotIn("evil", https_url(delivery.repo, delivery.provider))

    def test_every_sender_has_an_id_or_none(self) -> None:
        """The id is the provider's own; only the older forms and the plain push have none."""
        without = [name for name, one in SENDERS.items() if not receive(one.usual(), KEYS).id]
        self.assertEqual(without, ["bitbucket post", "plain"])

    def test_odd_ids(self) -> None:
        """An id that is no plain text of at most 200 characters is answered 400."""
        for name, header in (
            ("forgejo", "x-forgejo-delivery"),
            ("gitea", "x-gitea-delivery"),
            ("gogs", "x-gogs-delivery"),
            ("gitlab", "idempotency-key"),
            ("bitbucket server", "x-request-id"),
            ("sourcehut", "x-webhook-delivery"),
        ):
            for value in ("x" * 201, "a b", "é", "\x7f"):
                incoming = with_headers(SENDERS[name].usual(), {header: [value]})
                self.assertEqual(refusal(incoming).status, 400, name)

    def test_tags_are_no_branches(self) -> None:
        """A tag called like a branch stays a tag at every git host (threat 20)."""
        tag = "refs/tags/main"
        for incoming in (
            gitlab(encoded(gitlab_push(ref=tag, object_kind="tag_push"))),
            gitea(encoded(gitea_push(ref=tag))),
            bitbucket_server(
                encoded(bitbucket_server_push(bitbucket_server_change(tag, before=ZERO)))
            ),
            azure(encoded(azure_push(azure_update(tag)))),
            sourcehut(encoded(sourcehut_push(sourcehut_ref(tag)))),
            plain(encoded(plain_push(ref=tag))),
        ):
            self.assertEqual([push.ref for push in receive(incoming, KEYS).pushes], [tag])

    def test_events_by_name(self) -> None:
        """An event called like something of Python's is one that deploys nothing (threat 21)."""
        repo = gitea_push()["repository"]
        for event in ("__init__", "__class__", "_parse", "push.__call__", "Push", "push\0"):
            for send in (forgejo, gitea, gogs):
                delivery = receive(send(encoded({"repository": repo}), event=event), KEYS)
                self.assertEqual((delivery.event, delivery.pushes), (event, ()))
            for told, incoming in (
                (event, gitlab(encoded({"object_kind": event}))),
                (event, azure(encoded({"eventType": event}))),
                (event, bitbucket_server(b"{}", event=event)),
                (event, sourcehut(b"{}", event=event)),
            ):
                delivery = receive(incoming, KEYS)
                self.assertEqual((delivery.event, delivery.pushes), (told, ()))

    def test_a_signature_holds_for_five_minutes(self) -> None:
        """What Standard Webhooks signed is refused five minutes later or earlier (threat 8)."""
        for send, build in ((plain_standard, plain_push), (gitlab_standard, gitlab_push)):
            incoming = send(encoded(build()))
            for late in (-300, 0, 300):
                self.assertEqual(
                    summary(receive(evolve(incoming, at=NOW + late), KEYS)), [MOVED], late
                )
            for late in (-301, 301, 10**9):
                self.assertEqual(refusal(evolve(incoming, at=NOW + late)).status, 401, late)
