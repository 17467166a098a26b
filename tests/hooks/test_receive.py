"""The door as a whole: every provider's deliveries, proved and read, or refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from urllib.parse import quote_plus

from attrs import evolve
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from integralgit.hooks.delivery import Commit, Delivery, Incoming, Push
from integralgit.hooks.receive import Key, receive
from integralgit.names import Repository
from tests.hooks.senders import (
    HUB_SENDERS,
    JSON,
    KEYS,
    NEW,
    NOW,
    OLD,
    OTHER,
    PASSWORDS,
    SECRET,
    SENDERS,
    ZERO,
    Document,
    basic,
    bitbucket,
    bitbucket_post,
    bitbucket_post_push,
    bitbucket_push,
    bitbucket_ref,
    encoded,
    form,
    github,
    github_form,
    github_push,
    hub,
    key,
    plain,
    plain_push,
    plain_standard,
    refusal,
    standard,
    summary,
    with_headers,
)


class GitHubTests(SynchronousTestCase):
    def test_push(self) -> None:
        """A push to a branch is read with its commits, its pusher and its id."""
        repo = Repository("github.com", "acme/site")
        self.assertEqual(
            receive(github(encoded(github_push())), KEYS),
            Delivery(
                "github",
                "push",
                "7d2c4e10-0000-11ee-8000-0123456789ab",
                repo,
                (
                    Push(
                        "refs/heads/main",
                        before=OLD,
                        after=NEW,
                        pusher="ann",
                        commits=(Commit(NEW, "Say hello", "Ann"),),
                        whole=True,
                    ),
                ),
            ),
        )

    def test_form(self) -> None:
        """The same push as a form, signed over the form, is the same delivery."""
        self.assertEqual(
            receive(SENDERS["github as a form"].usual(), KEYS),
            receive(SENDERS["github"].usual(), KEYS),
        )

    def test_form_signed_over_its_json(self) -> None:
        """GitHub signs the form as it is sent; a signature over the JSON inside is none."""
        document = encoded(github_push())
        incoming = with_headers(
            github_form(form(document)), {"x-hub-signature-256": [hub(document)]}
        )
        self.assertEqual(refusal(incoming).status, 401)

    def test_tag(self) -> None:
        """A tag comes as the same event and keeps its full ref."""
        pushed = github_push(ref="refs/tags/main", before=ZERO, commits=[])
        self.assertEqual(
            summary(receive(github(encoded(pushed)), KEYS)), [("refs/tags/main", None, NEW, False)]
        )

    def test_new_branch(self) -> None:
        """A new branch has nothing before it, and perhaps no commits of its own."""
        pushed = github_push(before=ZERO, created=True, commits=[], head_commit=None)
        self.assertEqual(
            summary(receive(github(encoded(pushed)), KEYS)), [("refs/heads/main", None, NEW, False)]
        )

    def test_deletion(self) -> None:
        """A deletion says so, or shows it by a commit of zeros."""
        for changes in ({"deleted": True, "after": ZERO}, {"after": ZERO}):
            pushed = github_push(head_commit=None, commits=[], **changes)
            self.assertEqual(
                summary(receive(github(encoded(pushed)), KEYS)),
                [("refs/heads/main", OLD, None, True)],
            )

    def test_fields_that_may_be_missing(self) -> None:
        """Commits, pusher and the commit before are told where they are told."""
        minimal = {
            "ref": "refs/heads/main",
            "after": NEW,
            "repository": {"full_name": "acme/site", "html_url": "https://github.com/acme/site"},
        }
        for document in (minimal, github_push(commits=None, pusher=None, before=None)):
            (push,) = receive(github(encoded(document)), KEYS).pushes
            self.assertEqual((push.before, push.pusher, push.commits), (None, "", ()))

    def test_nameless_people(self) -> None:
        """A commit whose author has no name is shown without one."""
        pushed = github_push(
            pusher={"name": None}, commits=[{"id": NEW, "author": None}, {"id": OLD, "author": {}}]
        )
        (push,) = receive(github(encoded(pushed)), KEYS).pushes
        self.assertEqual(push.commits, (Commit(NEW), Commit(OLD)))

    def test_sha256_repository(self) -> None:
        """A repository of SHA-256 has longer commit ids."""
        pushed = github_push(after="cd" * 32, before="0" * 64)
        self.assertEqual(
            summary(receive(github(encoded(pushed)), KEYS)),
            [("refs/heads/main", None, "cd" * 32, False)],
        )

    def test_enterprise(self) -> None:
        """The host of the identity is that of the repository's page, whatever its case."""
        for page, host in (
            ("https://git.acme.example/acme/site", "git.acme.example"),
            ("https://Git.Acme.Example:8443/acme/site", "git.acme.example:8443"),
        ):
            pushed = github_push(repository={"full_name": "acme/site", "html_url": page})
            delivery = receive(github(encoded(pushed)), KEYS)
            self.assertEqual(delivery.repo, Repository(host, "acme/site"))

    def test_ping(self) -> None:
        """A ping is authentic and deploys nothing, with or without a repository."""
        repo = {"full_name": "acme/site", "html_url": "https://github.com/acme/site"}
        for document, known in (
            ({"zen": "Keep it logically awesome.", "repository": repo}, "github.com/acme/site"),
            ({"zen": "Keep it logically awesome.", "hook_id": 1}, "None"),
            ({"repository": None}, "None"),
        ):
            delivery = receive(github(encoded(document), event="ping"), KEYS)
            self.assertEqual((delivery.event, delivery.pushes), ("ping", ()))
            self.assertEqual(str(delivery.repo), known)
            self.assertIn("ping", delivery.note)

    def test_unknown_events(self) -> None:
        """Any other event, whatever it is called, is let in and says why it does nothing."""
        body = encoded({"ref": "main", "repository": github_push()["repository"]})
        for event in ("create", "pull_request", "__init__", "PUSH", "push ", ""):
            delivery = receive(github(body, event=event), KEYS)
            self.assertEqual((delivery.event, delivery.pushes), (event, ()))
            self.assertIn(event, delivery.note)
            self.assertNotEqual(delivery.note, "")

    def test_wrong_shapes(self) -> None:
        """A used field of the wrong kind, or missing, is answered 400."""
        repo = github_push()["repository"]
        wrong: list[Document] = [
            {"ref": []},
            {"ref": None},
            {"ref": 5},
            {"after": None},
            {"after": "main"},
            {"after": NEW.upper()},
            {"after": NEW[:-1]},
            {"before": "x" * 40},
            {"deleted": "yes"},
            {"deleted": None},
            {"commits": {}},
            {"commits": [None]},
            {"commits": [{"id": None}]},
            {"commits": [{"message": "without an id"}]},
            {"commits": [{"id": NEW, "author": "Ann"}]},
            {"pusher": "ann"},
            {"repository": None},
            {"repository": []},
            {"repository": {}},
            {"repository": {**repo, "full_name": None}},
            {"repository": {**repo, "full_name": ["acme", "site"]}},
            {"repository": {**repo, "full_name": "acme/../../etc"}},
            {"repository": {**repo, "full_name": "-acme/site"}},
            {"repository": {**repo, "full_name": ""}},
            {"repository": {**repo, "html_url": 5}},
            {"repository": {**repo, "html_url": "acme/site"}},
        ]
        for changes in wrong:
            rejected = refusal(github(encoded(github_push(**changes))))
            self.assertEqual(rejected.status, 400, changes)

    def test_what_is_kept_of_a_commit(self) -> None:
        """The first line of its message and its author, up to a bound; of many, the newest."""
        told = [
            {"id": f"{n:040x}", "message": "m" * 5000, "author": {"name": "a" * 5000}}
            for n in range(60)
        ]
        (push,) = receive(github(encoded(github_push(commits=told))), KEYS).pushes
        self.assertEqual(len(push.commits), 50)
        self.assertEqual(push.commits[0], Commit(f"{59:040x}", "m" * 500, "a" * 200))

    def test_what_is_no_commit(self) -> None:
        """What a git host lists without the id of a commit is left out, and the push is not."""
        for wrong in ("0a" * 50_000, "abc1234", "0A" * 20, "0a" * 19 + " \n", "../" * 13 + "x", ""):
            told = [{"id": OLD}, {"id": wrong}, {"id": "0a" * 32}, {"id": NEW}]
            ids = [one["id"] for one in told]
            change = {"new": bitbucket_ref("main", NEW), "commits": [{"hash": i} for i in ids]}
            nodes = [{"raw_node": i, "branch": "main"} for i in ids]
            for incoming in (
                github(encoded(github_push(commits=told))),
                plain(encoded(plain_push(commits=told))),
                bitbucket(encoded(bitbucket_push(change))),
                bitbucket_post(form(encoded(bitbucket_post_push(commits=nodes)))),
            ):
                (push,) = receive(incoming, KEYS).pushes
                kept = (Commit(NEW), Commit("0a" * 32), Commit(OLD))
                self.assertEqual((push.after, push.commits), (NEW, kept), wrong)

    def test_in_whichever_order_they_come(self) -> None:
        """Commits are kept newest first; a host that tells the pushed one first tells them so."""
        newest, older = {"id": NEW, "message": "Second"}, {"id": OLD, "message": "First"}
        for told in ([newest, older], [older, newest]):
            (push,) = receive(github(encoded(github_push(commits=told))), KEYS).pushes
            self.assertEqual([one.message for one in push.commits], ["Second", "First"], told)

    def test_whether_they_are_all(self) -> None:
        """A list that may have been cut off, or is not of this push, is not taken for the whole."""
        told = [{"id": f"{n:040x}"} for n in range(10)]
        newest = {"id": NEW}
        for commits, whole in (
            ([newest], True),
            ([*told, newest], True),
            ([{"id": OLD}] * 2047 + [newest], False),
            (told[:3], False),
            ([], False),
        ):
            (push,) = receive(github(encoded(github_push(commits=commits))), KEYS).pushes
            self.assertEqual(push.whole, whole, commits)

    def test_commits_that_are_null(self) -> None:
        """`commits: null` is the same as none."""
        (push,) = receive(github(encoded(github_push(commits=None))), KEYS).pushes
        self.assertEqual(push.commits, ())


class BitbucketTests(SynchronousTestCase):
    def test_push(self) -> None:
        """A push to a branch is read with its commits, its pusher and its id."""
        repo = Repository("bitbucket.org", "acme/site")
        delivery = receive(bitbucket(encoded(bitbucket_push())), KEYS)
        self.assertEqual(
            (delivery.provider, delivery.event, delivery.id, delivery.repo),
            ("bitbucket", "repo:push", "9c1a7a52-0000-11ee-8000-0123456789ab", repo),
        )
        self.assertEqual(
            delivery.pushes,
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
        )

    def test_several_changes(self) -> None:
        """Every change of one delivery counts: branches, tags, new ones and deletions, in order."""
        pushed = bitbucket_push(
            {"old": bitbucket_ref("main", OLD), "new": bitbucket_ref("main", NEW)},
            {"old": None, "new": bitbucket_ref("feature/x", NEW)},
            {"old": bitbucket_ref("gone", OLD), "new": None, "closed": True},
            {"old": None, "new": bitbucket_ref("feature/x", NEW, "tag")},
            {"old": bitbucket_ref("v1", OLD, "tag"), "new": None},
            {"old": None, "new": bitbucket_ref("dev", OLD, "named_branch")},
        )
        self.assertEqual(
            summary(receive(bitbucket(encoded(pushed)), KEYS)),
            [
                ("refs/heads/main", OLD, NEW, False),
                ("refs/heads/feature/x", None, NEW, False),
                ("refs/heads/gone", OLD, None, True),
                ("refs/tags/feature/x", None, NEW, False),
                ("refs/tags/v1", OLD, None, True),
                ("refs/heads/dev", None, OLD, False),
            ],
        )

    def test_no_changes(self) -> None:
        """A delivery without changes, or with empty ones, is let in and changes nothing."""
        empty: list[Document] = [{"changes": []}, {"changes": [{"old": None, "new": None}, {}]}]
        for push in empty:
            delivery = receive(bitbucket(encoded(bitbucket_push(push=push))), KEYS)
            self.assertEqual(delivery.pushes, ())
            self.assertNotEqual(delivery.note, "")

    def test_a_kind_that_is_no_branch(self) -> None:
        """What is not said to be a branch is not taken for one."""
        pushed = bitbucket_push({"old": None, "new": bitbucket_ref("main", NEW, "bookmark")})
        ((ref, *_),) = summary(receive(bitbucket(encoded(pushed)), KEYS))
        self.assertFalse(ref.startswith("refs/heads/"), ref)

    def test_who_pushed(self) -> None:
        """The pusher is the name on display, or the nickname, or nobody."""
        for actor, wanted in (
            ({"display_name": "Ann", "nickname": "a"}, "Ann"),
            ({"nickname": "a"}, "a"),
            ({}, ""),
            (None, ""),
        ):
            (push,) = receive(bitbucket(encoded(bitbucket_push(actor=actor))), KEYS).pushes
            self.assertEqual(push.pusher, wanted)

    def test_the_host_is_not_taken_from_the_body(self) -> None:
        """Links in the body do not change which repository it is."""
        delivery = receive(bitbucket(encoded(bitbucket_push())), KEYS)
        self.assertEqual(str(delivery.repo), "bitbucket.org/acme/site")

    def test_unknown_events(self) -> None:
        """Any other event is let in and says why it does nothing."""
        for document in ({"repository": {"full_name": "acme/site"}}, {}, {"repository": None}):
            delivery = receive(bitbucket(encoded(document), event="pullrequest:created"), KEYS)
            self.assertEqual(delivery.pushes, ())
            self.assertIn("pullrequest:created", delivery.note)

    def test_wrong_shapes(self) -> None:
        """A used field of the wrong kind, or missing, is answered 400."""
        good = bitbucket_ref("main", NEW)
        wrong: list[Document] = [
            {"repository": None},
            {"repository": {"full_name": 5}},
            {"repository": {"full_name": "acme/.."}},
            {"push": None},
            {"push": []},
            {"push": {}},
            {"push": {"changes": None}},
            {"push": {"changes": {}}},
            {"push": {"changes": [None]}},
            {"push": {"changes": [{"new": "main"}]}},
            {"push": {"changes": [{"new": {**good, "name": None}}]}},
            {"push": {"changes": [{"new": {**good, "type": 5}}]}},
            {"push": {"changes": [{"new": {"type": "branch"}}]}},
            {"push": {"changes": [{"new": {**good, "target": {"hash": None}}}]}},
            {"push": {"changes": [{"new": {**good, "target": {"hash": "main"}}}]}},
            {"push": {"changes": [{"new": good, "old": {**good, "target": NEW}}]}},
            {"push": {"changes": [{"new": good, "commits": "x"}]}},
            {"push": {"changes": [{"new": good, "commits": [{"hash": 5}]}]}},
            {"actor": "ann"},
        ]
        for changes in wrong:
            rejected = refusal(bitbucket(encoded(bitbucket_push(**changes))))
            self.assertEqual(rejected.status, 400, changes)


class BitbucketPostTests(SynchronousTestCase):
    def test_push(self) -> None:
        """The form of the POST service is read; the newest commit is the last one listed."""
        self.assertEqual(
            receive(SENDERS["bitbucket post"].usual(), KEYS).pushes,
            (
                Push(
                    "refs/heads/main",
                    after=NEW,
                    pusher="ann",
                    commits=(Commit(NEW, "Second", "ann"), Commit(OLD, "First", "ann")),
                ),
            ),
        )

    def test_several_branches(self) -> None:
        """Each branch that a commit names is one push; commits without a branch are left out."""
        pushed = bitbucket_post_push(
            commits=[
                {"raw_node": OLD, "branch": "main"},
                {"raw_node": "cd" * 20, "branch": None},
                {"raw_node": "ef" * 20, "branch": "dev"},
                {"raw_node": NEW, "branch": "main"},
            ]
        )
        self.assertEqual(
            summary(receive(bitbucket_post(form(encoded(pushed))), KEYS)),
            [("refs/heads/main", None, NEW, False), ("refs/heads/dev", None, "ef" * 20, False)],
        )

    def test_no_commits(self) -> None:
        """A push without commits is let in and says why it does nothing."""
        without: list[Document] = [{"commits": []}, {"commits": None}]
        for changes in without:
            pushed = bitbucket_post_push(**changes)
            delivery = receive(bitbucket_post(form(encoded(pushed))), KEYS)
            self.assertEqual(delivery.pushes, ())
            self.assertNotEqual(delivery.note, "")

    def test_mercurial(self) -> None:
        """A repository that is not git deploys nothing."""
        pushed = bitbucket_post_push(repository={"absolute_url": "/acme/site/", "scm": "hg"})
        delivery = receive(bitbucket_post(form(encoded(pushed))), KEYS)
        self.assertEqual((str(delivery.repo), delivery.pushes), ("bitbucket.org/acme/site", ()))
        self.assertIn("git", delivery.note)

    def test_the_user_name_is_not_looked_at(self) -> None:
        """Whatever the user of the basic authentication is called, its password counts."""
        usual = SENDERS["bitbucket post"].usual()
        for user in (b"", b"ann", b"\xff"):
            incoming = with_headers(usual, {"authorization": [basic(user=user)]})
            self.assertEqual(len(receive(incoming, KEYS).pushes), 1)

    def test_wrong_shapes(self) -> None:
        """A used field of the wrong kind, or missing, is answered 400."""
        wrong: list[Document] = [
            {"repository": None},
            {"repository": {}},
            {"repository": {"absolute_url": None}},
            {"repository": {"absolute_url": "/"}},
            {"repository": {"absolute_url": "/acme/../site/"}},
            {"repository": {"absolute_url": "/acme/site/", "scm": None}},
            {"commits": {}},
            {"commits": ["x"]},
            {"commits": [{"branch": "main"}]},
            {"commits": [{"raw_node": "main", "branch": "main"}]},
            {"commits": [{"raw_node": NEW, "branch": 5}]},
            {"user": {}},
        ]
        for changes in wrong:
            body = form(encoded(bitbucket_post_push(**changes)))
            self.assertEqual(refusal(bitbucket_post(body)).status, 400, changes)

    def test_forms_that_are_none(self) -> None:
        """A form must have exactly one field `payload`, for each sender of forms."""
        document = encoded(github_push())
        for body in (
            b"",
            b"x=1",
            b"payload",
            b"PAYLOAD=" + quote_plus(document).encode(),
            form(document) + b"&" + form(document),
            form(document) + b"&payload=",
            b"payload=&" + form(document),
            document,
        ):
            for send in (bitbucket_post, github_form):
                self.assertEqual(refusal(send(body)).status, 400, body[:40])

    def test_other_fields_of_a_form_are_not_looked_at(self) -> None:
        """Fields besides `payload` neither help nor hurt."""
        body = b"a=%zz&" + form(encoded(bitbucket_post_push())) + b"&mypayload=%7B%7D"
        self.assertEqual(len(receive(bitbucket_post(body), KEYS).pushes), 1)


class PlainPushTests(SynchronousTestCase):
    def test_push(self) -> None:
        """The plain push of the contract is read as it stands there."""
        repo = Repository("git.example.com", "acme/site")
        self.assertEqual(
            receive(plain(encoded(plain_push())), KEYS),
            Delivery(
                "generic",
                "push",
                "",
                repo,
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

    def test_standard_webhooks(self) -> None:
        """Signed by Standard Webhooks it is the same push, and its id is the webhook's."""
        body = encoded(plain_push())
        delivery = receive(plain_standard(body), KEYS)
        self.assertEqual(delivery.id, "msg_1")
        self.assertEqual(replace(delivery, id=""), receive(plain(body), KEYS))

    def test_standard_webhooks_with_an_encoded_secret(self) -> None:
        """A secret written as `whsec_` and base64 stands for the bytes within."""
        raw = bytes(range(32))
        secret = b"whsec_" + base64.b64encode(raw)
        incoming = plain_standard(encoded(plain_push()), raw)
        self.assertEqual(len(receive(incoming, [key("**", secret=secret)]).pushes), 1)
        self.assertEqual(refusal(incoming, [key("**", secret=raw + b"x")]).status, 401)

    def test_minimal(self) -> None:
        """Only repository, ref and after are needed."""
        document = plain_push()
        for name in ("before", "pusher", "commits"):
            del document[name]
        self.assertEqual(
            summary(receive(plain(encoded(document)), KEYS)),
            [("refs/heads/main", None, NEW, False)],
        )

    def test_deletion_and_creation(self) -> None:
        """Zeros before make a new ref, zeros after a deletion, as git itself writes it."""
        for changes, wanted in (
            ({"before": ZERO}, ("refs/heads/main", None, NEW, False)),
            ({"after": ZERO}, ("refs/heads/main", OLD, None, True)),
        ):
            body = encoded(plain_push(**changes))
            self.assertEqual(summary(receive(plain(body), KEYS)), [wanted])

    def test_the_ref_is_passed_on_as_it_is(self) -> None:
        """What a ref means is not decided at the door."""
        for ref in ("refs/heads/-x", "refs/tags/v1", "main", "", "refs/heads/<b>é"):
            (push,) = receive(plain(encoded(plain_push(ref=ref))), KEYS).pushes
            self.assertEqual(push.ref, ref)

    def test_wrong_shapes(self) -> None:
        """A used field of the wrong kind, or missing, is answered 400."""
        repo = plain_push()["repository"]
        wrong: list[Document] = [
            {"repository": None},
            {"repository": "git.example.com/acme/site"},
            {"repository": {"full_name": "acme/site"}},
            {"repository": {**repo, "host": ""}},
            {"repository": {**repo, "host": "-oProxyCommand=x"}},
            {"repository": {**repo, "host": "git.example.com/acme"}},
            {"repository": {**repo, "host": "ann@git.example.com"}},
            {"repository": {**repo, "full_name": "../site"}},
            {"repository": {**repo, "full_name": "acme/site\0"}},
            {"ref": None},
            {"ref": ["refs/heads/main"]},
            {"after": None},
            {"after": "HEAD"},
            {"after": 5},
            {"before": "HEAD"},
            {"pusher": {"name": "ann"}},
            {"commits": "x"},
            {"commits": [{"id": 5}]},
            {"commits": [{"id": NEW, "message": None}]},
        ]
        for changes in wrong:
            self.assertEqual(refusal(plain(encoded(plain_push(**changes)))).status, 400, changes)
        for missing in ("repository", "ref", "after"):
            document = plain_push()
            del document[missing]
            self.assertEqual(refusal(plain(encoded(document))).status, 400, missing)

    def test_odd_ids(self) -> None:
        """An id of a delivery is printable and short, else the delivery is answered 400."""
        body = encoded(plain_push())
        for sent_id in ("x" * 201, "a b", "é", "a\tb"):
            incoming = Incoming(
                {"content-type": [JSON], **standard(body, SECRET, sent_id)}, body, NOW
            )
            self.assertEqual(refusal(incoming).status, 400, sent_id)
        for name, sender in (("x-github-delivery", "github"), ("x-request-uuid", "bitbucket")):
            incoming = with_headers(SENDERS[sender].usual(), {name: ["x" * 201]})
            self.assertEqual(refusal(incoming).status, 400, name)


class UnauthorizedTests(SynchronousTestCase):
    """Nobody gets in without the right proof, and nobody learns why not."""

    def refused(self, incoming: Incoming, why: str, keys: Iterable[Key] = KEYS) -> None:
        """Assert that it is answered 401 with the one text there is for that."""
        rejected = refusal(incoming, keys)
        self.assertEqual(rejected.status, 401, why)
        self.assertEqual(rejected.error, refusal(Incoming({"content-type": [JSON]}, b"")).error)

    def test_every_sender_is_let_in_with_the_right_proof(self) -> None:
        """The usual push of every sender is let in, which the refusals below change one thing of."""
        for name, sender in SENDERS.items():
            self.assertEqual(len(receive(sender.usual(), KEYS).pushes), 1, name)

    def test_missing(self) -> None:
        """Without the header that proves it, no delivery is let in (threats 1 and 2)."""
        for name, sender in SENDERS.items():
            self.refused(with_headers(sender.usual(), {sender.proof: None}), name)

    def test_empty(self) -> None:
        """An empty signature is none, as a hook without a secret sends it (threat 3)."""
        for name, sender in SENDERS.items():
            for values in ([""], [" "], []):
                self.refused(with_headers(sender.usual(), {sender.proof: values}), name)

    def test_hub_signatures_that_are_none(self) -> None:
        """Nothing but the whole right value counts: no prefix, no list that holds it (threat 5)."""
        for name in HUB_SENDERS:
            sender = SENDERS[name]
            right = sender.usual().header(sender.proof)
            digest = right.removeprefix("sha256=")
            for given in (
                "sha256=",
                "sha256",
                digest,
                right[:-1],
                right + "0",
                right + " ",
                "sha256=" + "0" * 64,
                "sha256=" + "é" * 64,
                f"sha256=00,{right}",
                f"{right},sha256=00",
                "sha1=" + digest,
                hub(sender.usual().body, OTHER),
                hub(sender.usual().body, b""),
                hub(sender.usual().body + b" "),
            ):
                self.refused(with_headers(sender.usual(), {sender.proof: [given]}), given)

    def test_doubled(self) -> None:
        """A proof that was sent twice is none, even if both or the last are right (threat 3)."""
        for name, sender in SENDERS.items():
            right = sender.usual().header(sender.proof)
            for values in ([right, right], ["", right], ["sha256=00", right], [right, "v1,"]):
                self.refused(with_headers(sender.usual(), {sender.proof: values}), name)

    def test_sha1(self) -> None:
        """A right SHA-1 signature does not let anything in, in whichever header (threat 4)."""
        for name in HUB_SENDERS:
            sender = SENDERS[name]
            incoming = sender.usual()
            sha1 = "sha1=" + hmac.digest(SECRET, incoming.body, hashlib.sha1).hex()
            headers: dict[str, list[str] | None] = {
                "x-hub-signature-256": None,
                "x-hub-signature": [sha1],
            }
            self.refused(with_headers(incoming, headers), name)
            self.refused(with_headers(incoming, {sender.proof: [sha1]}), name)

    def test_right_sha1_beside_a_wrong_signature(self) -> None:
        """A right SHA-1 signature does not make up for a wrong one of SHA-256."""
        incoming = SENDERS["github"].usual()
        sha1 = "sha1=" + hmac.digest(SECRET, incoming.body, hashlib.sha1).hex()
        headers = {"x-hub-signature-256": [hub(b"")], "x-hub-signature": [sha1]}
        self.refused(with_headers(incoming, headers), "sha1")

    def test_sha1_where_a_trust_allows_it(self) -> None:
        """A trust may allow GitHub's SHA-1, but not beside the newer header (threat 4)."""
        allowing = [key("**", allow_sha1=True)]
        for name, sender in SENDERS.items():
            incoming = sender.usual()
            sha1 = "sha1=" + hmac.digest(SECRET, incoming.body, hashlib.sha1).hex()
            only = {sender.proof: None, "x-hub-signature-256": None, "x-hub-signature": [sha1]}
            older = with_headers(incoming, only)
            if not name.startswith("github"):
                self.refused(older, name, allowing)
                continue
            self.assertEqual(len(receive(older, allowing).pushes), 1)
            for newer in ("", "sha256=", hub(b""), sha1):
                both = with_headers(older, {"x-hub-signature-256": [newer]})
                self.refused(both, newer, allowing)
            self.refused(with_headers(older, {"x-hub-signature": [sha1, sha1]}), name, allowing)
            self.refused(older, name, [key("github.com/other/*", allow_sha1=True), *KEYS])

    def test_changed_body(self) -> None:
        """A body that was changed on its way, by one byte, is refused."""
        for name, sender in SENDERS.items():
            if sender.proof not in PASSWORDS:
                incoming = sender.usual()
                self.refused(evolve(incoming, body=incoming.body + b" "), name)
                self.refused(evolve(incoming, body=b""), name)

    def test_basic_authentication_that_is_none(self) -> None:
        """Half, broken and other credentials are refused."""
        usual = SENDERS["bitbucket post"].usual()
        right = basic()
        for given in (
            "Basic",
            "Basic ",
            "Basic !!!",
            right.removeprefix("Basic "),
            right.replace("Basic", "Bearer"),
            "Bearer " + SECRET.decode(),
            "Basic " + SECRET.decode(),
            "Basic " + base64.b64encode(SECRET).decode(),
            basic(SECRET[:-1]),
            basic(SECRET + b"x"),
            basic(b""),
            basic(OTHER),
            "Basic é",
        ):
            self.refused(with_headers(usual, {"authorization": [given]}), given)

    def test_standard_webhooks_without_time_or_id(self) -> None:
        """A signature counts only with the id and the time that it covers, and not for long."""
        usual = SENDERS["plain, standard"].usual()
        for changes in (
            {"webhook-id": None},
            {"webhook-timestamp": None},
            {"webhook-id": ["msg_2"]},
            {"webhook-timestamp": [f"{NOW + 1:.0f}"]},
            {"webhook-timestamp": ["nan"]},
        ):
            self.refused(with_headers(usual, changes), str(changes))
        self.refused(evolve(usual, at=NOW + 301), "too late")
        self.refused(evolve(usual, at=NOW - 301), "too early")

    def test_only_the_providers_own_proof_counts(self) -> None:
        """A right proof in the form of another provider lets nothing in (threat 10)."""
        usual = SENDERS["github"].usual()
        self.refused(
            with_headers(
                usual, {"x-hub-signature-256": None, "x-hub-signature": [hub(usual.body)]}
            ),
            "the header of Bitbucket for GitHub",
        )
        self.refused(
            with_headers(usual, {"x-hub-signature-256": None, "authorization": [basic()]}),
            "a password for GitHub",
        )
        self.refused(
            with_headers(usual, {"x-hub-signature-256": None, **standard(usual.body)}),
            "Standard Webhooks for GitHub",
        )
        self.refused(
            with_headers(usual, {"x-event-key": ["repo:push"]}), "GitHub's for one of Bitbucket"
        )
        both = SENDERS["plain"].usual()
        self.refused(
            with_headers(both, standard(b"another body")), "a wrong one beside a right one"
        )

    def test_secret_of_another_repository(self) -> None:
        """A right signature by a secret that is trusted for other repositories is refused (threat 9)."""
        for name, sender in SENDERS.items():
            theirs = sender.key("*/other/**", "*/~other/*")
            ours = sender.key("**/site", secret=OTHER)
            self.refused(sender.usual(), name, [theirs])
            self.refused(sender.usual(), name, [theirs, ours])
            self.assertEqual(len(receive(sender.usual(OTHER), [theirs, ours]).pushes), 1, name)

    def test_no_secrets(self) -> None:
        """Where nobody is trusted, nobody is let in."""
        for name, sender in SENDERS.items():
            self.refused(sender.usual(), name, [])

    def test_events_that_deploy_nothing_need_a_proof_too(self) -> None:
        """A ping or an unknown event without a right signature is refused like a push."""
        for incoming, proof in (
            (github(b"{}", event="ping"), "x-hub-signature-256"),
            (bitbucket(b"{}", event="repo:fork"), "x-hub-signature"),
        ):
            self.assertEqual(receive(incoming, KEYS).pushes, ())
            self.refused(with_headers(incoming, {proof: [hub(b"")]}), proof)
            self.refused(with_headers(incoming, {proof: None}), proof)

    def test_an_event_of_a_repository_that_is_not_covered(self) -> None:
        """An event that deploys nothing is bound to the trusts as a push is."""
        body = encoded({"repository": github_push()["repository"]})
        self.refused(github(body, event="star"), "star", [key("github.com/other/*")])

    def test_the_body_is_not_read_without_proof(self) -> None:
        """What is wrong with the body is told to nobody who cannot sign it."""
        for name, sender in SENDERS.items():
            self.refused(
                with_headers(sender.send(b"not JSON"), {sender.proof: ["sha256=00"]}), name
            )

    def test_nothing_is_given_away(self) -> None:
        """Neither the answer nor the cause has the secret or the signature that was wanted (threat 7)."""
        for sender in SENDERS.values():
            incoming = sender.usual()
            right = incoming.header(sender.proof)
            rejected = refusal(with_headers(incoming, {sender.proof: ["sha256=00"]}))
            for text in (rejected.error, rejected.cause, str(rejected)):
                self.assertNotIn(SECRET.decode(), text)
                self.assertNotIn(right.removeprefix("sha256="), text)

    def test_the_causes_differ_for_the_administrator(self) -> None:
        """The administrator can tell a wrong signature from a repository that is not covered."""
        usual = SENDERS["github"].usual()
        wrong = refusal(usual, [key("**", secret=OTHER)])
        uncovered = refusal(usual, [key("github.com/other/*")])
        self.assertNotEqual(wrong.cause, uncovered.cause)
        self.assertIn("github.com/acme/site", uncovered.cause)

    def test_rotation(self) -> None:
        """With two secrets for one trust, either proves a delivery."""
        for name, sender in SENDERS.items():
            keys = [sender.key("**/site"), sender.key("**/site", secret=OTHER)]
            for secret in (SECRET, OTHER):
                self.assertEqual(len(receive(sender.usual(secret), keys).pushes), 1, name)

    def test_one_secret_in_two_trusts(self) -> None:
        """A secret may speak for what any of its trusts covers."""
        keys = [key("github.com/other/*"), key("github.com/acme/*")]
        self.assertEqual(len(receive(SENDERS["github"].usual(), keys).pushes), 1)

    def test_covered_in_any_case(self) -> None:
        """A trust covers its repositories however the sender writes them."""
        repo = {"full_name": "Acme/SITE", "html_url": "https://GitHub.com/Acme/SITE"}
        incoming = github(encoded(github_push(repository=repo)))
        self.assertEqual(len(receive(incoming, [key("github.com/acme/*")]).pushes), 1)


class ContentTests(SynchronousTestCase):
    """Which bodies are looked at, and what happens to hostile ones."""

    def test_content_types(self) -> None:
        """Neither JSON nor a form is answered 415, signed or not."""
        for values in (
            None,
            [],
            [""],
            ["text/plain"],
            ["text/json"],
            ["application/jsonx"],
            ["multipart/form-data; boundary=x"],
            ["application/octet-stream"],
            [JSON, JSON],
            ["é"],
        ):
            for sender in SENDERS.values():
                incoming = with_headers(sender.usual(), {"content-type": values})
                self.assertEqual(refusal(incoming).status, 415, str(values))
                unsigned = with_headers(incoming, {sender.proof: None})
                self.assertEqual(refusal(unsigned).status, 415, str(values))

    def test_parameters_and_case_of_the_content_type(self) -> None:
        """The media type counts in any case and with parameters."""
        for content_type in ("application/json; charset=utf-8", "Application/JSON", JSON + " ;x"):
            incoming = with_headers(SENDERS["github"].usual(), {"content-type": [content_type]})
            self.assertEqual(len(receive(incoming, KEYS).pushes), 1, content_type)

    def test_encodings(self) -> None:
        """A compressed body is answered 415."""
        for sender in SENDERS.values():
            incoming = with_headers(sender.usual(), {"content-encoding": ["gzip"]})
            self.assertEqual(refusal(incoming).status, 415)

    def test_hostile_bodies(self) -> None:
        """What is not one JSON object in UTF-8 of the expected shape is answered 400."""
        hostile = {
            "empty": b"",
            "space": b" ",
            "null": b"null",
            "a list": b"[]",
            "a text": b'"x"',
            "a number": b"5",
            "no value": b"{",
            "two values": b"{}{}",
            "not JSON": b"payload",
            "single quotes": b"{'ref': 'refs/heads/main'}",
            "NaN": b"NaN",
            "deep lists": b"[" * 100_000 + b"]" * 100_000,
            "deep objects": b'{"repository":' * 100_000 + b"1" + b"}" * 100_000,
            "deep beginnings": b'{"a":[' * 100_000,
            "a huge number": b"1" + b"0" * 5000,
            "NULs": b"\0" * 100,
            "UTF-16": "{}".encode("utf-16"),
            "UTF-16 without a mark": "{}".encode("utf-16-le"),
            "UTF-32": "{}".encode("utf-32"),
            "a byte order mark": b"\xef\xbb\xbf{}",
            "no UTF-8": b'{"repository": "\xff", "object_kind": "\xff", "eventType": "\xff"}',
        }
        for name, sender in SENDERS.items():
            for what, document in hostile.items():
                rejected = refusal(sender.send(document))
                self.assertEqual(rejected.status, 400, f"{what} from {name}")

    def test_usual_pushes_in_other_encodings(self) -> None:
        """A push that is right in all but its encoding is answered 400."""
        for name, sender in SENDERS.items():
            text = encoded(sender.document()).decode()
            for document in (
                text.encode("utf-16"),
                text.encode("utf-16-be"),
                text.encode("utf-32"),
                text.encode("utf-8-sig"),
            ):
                self.assertEqual(refusal(sender.send(document)).status, 400, name)

    def test_hostile_values_in_used_fields(self) -> None:
        """NaN, huge numbers, lone surrogates and bad UTF-8 in a field that is used give 400."""
        for name, sender in SENDERS.items():
            usual = encoded(sender.document())
            names = (b'"acme/site"', b'"/acme/site/"', b'"site"')
            text = next(one for one in names if one in usual)
            for value in (
                b"NaN",
                b"-Infinity",
                b"1e999",
                b"1" + b"0" * 5000,
                b'"\\ud800"',
                b'"\xff"',
                b'"\xed\xa0\x80"',
                b'"\\x"',
                b'"a\nb"',
                b"[" * 5000 + b"]" * 5000,
                b'{"a":' * 5000 + b"1" + b"}" * 5000,
                b"true",
                b"{}",
            ):
                document = usual.replace(text, value)
                self.assertNotEqual(document, usual)
                rejected = refusal(sender.send(document))
                self.assertEqual(rejected.status, 400, f"{value[:20]!r} from {name}")

    def test_deep_nesting_beside_the_used_fields(self) -> None:
        """A field that nobody uses cannot make the parser fail by its depth."""
        for name, sender in SENDERS.items():
            deep = b'"z": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
            document = encoded(sender.document())[:-1] + b"," + deep
            self.assertEqual(refusal(sender.send(document)).status, 400, name)

    def test_errors_are_sentences(self) -> None:
        """What the sender reads is one short line, whatever was sent."""
        many = [1] * 50_000
        wrong = encoded(
            {"eventType": "git.push", "repository": many, "project": many, "resource": many}
        )
        for sender in SENDERS.values():
            for document in (b"x" * 100_000, wrong, b"\0\n\x1b"):
                error = refusal(sender.send(document)).error
                self.assertLess(len(error), 300)
                self.assertNotIn("\n", error)
                self.assertNotIn("Traceback", error)
