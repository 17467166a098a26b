"""Hostile bodies, refs and URLs, with the answer that each must get.

The cases are written here, so that they run anywhere; where the folder
`shared/payloads/hostile` lies beside the checkout, it must hold no case that
is not among them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from integralgit.deploy.decide import ACCEPTED, IGNORED, decide
from integralgit.hooks.delivery import Rejected
from integralgit.hooks.receive import receive
from integralgit.location.source import Source, source_of
from integralgit.names import Repository, repository_of_url
from integralgit.settings import Trust
from tests.hooks.senders import (
    KEYS,
    SECRET,
    SENDERS,
    Sender,
    azure_push,
    bitbucket_push,
    bitbucket_server_push,
    encoded,
    form,
    gitea_push,
    github_push,
    gitlab_push,
    plain_push,
    refusal,
)

FOLDER = Path(__file__).parents[3] / "shared" / "payloads" / "hostile"

#: A JSON text in which the used field that is named has this value.
Build = Callable[[bytes], bytes]


def in_plain(field: str, value: bytes) -> bytes:
    """The plain push, where that field has the raw value."""
    document = plain_push(**{field: "@"})
    return encoded(document).replace(b'"@"', value)


def beside(value: bytes) -> bytes:
    """The plain push with a field that nobody uses, and its raw value."""
    return encoded(plain_push())[:-1] + b', "a": ' + value + b"}"


@frozen
class Body:
    """A body, as it is sent by whom, and the status it must be refused with; None: let in."""

    sent: bytes
    status: int | None
    sender: str = "plain"


DEEP = b"[" * 1000 + b"]" * 1000
HUGE = b"1" + b"0" * 5000
# What nobody uses is skipped and not judged (product.md); what is used is, and so is the whole.
BODIES = {
    "duplicate key": Body(
        # For what it lacks; `test_duplicate_keys` has a whole push.
        b'{"ref":"refs/heads/a","ref":"refs/heads/b"}',
        400,
    ),
    "NaN": Body(b'{"a":NaN}', 400),
    "Infinity": Body(b'{"a":-Infinity}', 400),
    "depth 1000": Body(DEEP, 400),
    "5001-digit int": Body(b'{"a":' + HUGE + b"}", 400),
    "lone surrogate": Body(b'{"ref":"\\ud800"}', 400),
    "bad utf-8": Body(b'{"a":"\xff"}', 400),
    "BOM": Body("\ufeff{}".encode(), 400),
    "utf-16 body": Body("{}".encode("utf-16"), 400),
    "array top": Body(b"[]", 400),
    "null top": Body(b"null", 400),
    "empty": Body(b"", 400),
    "ref is a list": Body(b'{"ref":[]}', 400),
    "commits null": Body(b'{"commits":null}', 400),
    "azure empty refUpdates": Body(
        b'{"eventType":"git.push","resource":{"refUpdates":[]}}', None, "azure"
    ),
    "bitbucket new null and old null": Body(
        b'{"push":{"changes":[{"new":null,"old":null}]}}', 400, "bitbucket"
    ),
    "bb server clone is a string": Body(
        b'{"repository":{"links":{"clone":"x"}}}', 400, "bitbucket server"
    ),
    "form twice": Body(b"payload=%7B%7D&payload=%7B%22a%22%3A1%7D", 400, "github as a form"),
    "form no payload": Body(b"x=1", 400, "github as a form"),
    # The same, where it is all that is wrong with an authentic push.
    "NaN in a used field": Body(in_plain("ref", b"NaN"), 400),
    "Infinity in a used field": Body(in_plain("ref", b"-Infinity"), 400),
    "depth 1000 in a used field": Body(in_plain("ref", DEEP), 400),
    "huge number in a used field": Body(in_plain("ref", HUGE), 400),
    "lone surrogate in a used field": Body(in_plain("ref", b'"\\ud800"'), 400),
    "bad utf-8 in a used field": Body(in_plain("ref", b'"\xff"'), 400),
    "NaN in a skipped field": Body(beside(b"NaN"), 400),
    "huge number in a skipped field": Body(beside(HUGE), None),
    "BOM before a push": Body(b"\xef\xbb\xbf" + encoded(plain_push()), 400),
    "utf-16 push": Body(encoded(plain_push()).decode().encode("utf-16"), 400),
    "utf-32 push": Body(encoded(plain_push()).decode().encode("utf-32"), 400),
    "two documents": Body(encoded(plain_push()) * 2, 400),
    "text after the document": Body(encoded(plain_push()) + b"x", 400),
    "commits null in a push": Body(encoded(plain_push(commits=None)), None),
    "commits null of GitHub": Body(encoded(github_push(commits=None)), None, "github"),
    "head commit null of GitHub": Body(encoded(github_push(head_commit=None)), None, "github"),
    "commits null of GitLab": Body(encoded(gitlab_push(commits=None)), None, "gitlab"),
    "commits null of Gitea": Body(encoded(gitea_push(commits=None)), None, "gitea"),
    "commits null of Azure": Body(encoded(azure_push(commits=None)), None, "azure"),
    "commits of a null repository": Body(
        encoded(plain_push(commits=[{"id": "x", "repo": None}])), None
    ),
    "empty refUpdates of a whole push": Body(encoded(azure_push(refUpdates=[])), None, "azure"),
    "new and old null in a whole push": Body(
        encoded(bitbucket_push({"new": None, "old": None})), None, "bitbucket"
    ),
    "clone a string in a whole push": Body(
        encoded(
            bitbucket_server_push(
                repository={"slug": "x", "project": {"key": "X"}, "links": {"clone": "x"}}
            )
        ),
        400,
        "bitbucket server",
    ),
    "form of Gitea twice": Body(form(b"{}") + b"&" + form(b"{}"), 401, "gitea as a form"),
    "form of the POST service twice": Body(form(b"{}") + b"&" + form(b"{}"), 400, "bitbucket post"),
}

_LONG = "refs/heads/" + "a" * 4000

#: Whether a push of that ref is deployed where no config says otherwise. Those
#: that only a shell or a browser could misread are: neither gets to read them.
REFS = {
    "refs/heads/master": True,
    "refs/heads/feature/x": True,
    "refs/heads/release/v1.2_3-x": True,
    "refs/heads/é": True,
    "refs/heads/--upload-pack=touch${IFS}/tmp/x": False,
    "refs/heads/-x": False,
    "refs/heads/@": False,
    "refs/heads/HEAD": False,
    "refs/heads/a..b": False,
    "refs/heads/a b": False,
    "refs/heads/x.lock": False,
    "refs/heads/.x": False,
    "refs/heads/a//b": False,
    "refs/heads/a:b": False,
    "refs/heads/a~1": False,
    "refs/heads/a\nb": False,
    "refs/heads/a\0b": False,
    "refs/heads/+master": False,
    "refs/heads/$(id)": True,
    "refs/heads/`id`": True,
    "refs/heads/<img/src=x/onerror=alert(1)>": True,
    "refs/heads/\u202egnp.exe": True,
    "refs/heads/../../etc": False,
    "refs/tags/master": False,
    "refs/pull/1/head": False,
    "refs/changes/1": False,
    "feature/Feature-0": False,
    "": False,
    "refs/heads/": False,
    _LONG: False,
    # More of the kind.
    "refs/heads": False,
    "REFS/heads/master": False,
    "refs/heads/refs/heads/master": True,
    "/refs/heads/master": False,
    " refs/heads/master": False,
    "refs/heads/master ": False,
    "refs/heads/master\n": False,
    "refs/heads/master/": False,
    "refs/heads/master.": False,
    "refs/heads/a^": False,
    "refs/heads/a?": False,
    "refs/heads/a*": False,
    "refs/heads/a[b]": False,
    "refs/heads/a\\b": False,
    "refs/heads/a@{1}": False,
    "refs/heads/a/.b": False,
    "refs/heads/a.lock/b": False,
    "refs/heads/\x7f": False,
    "refs/remotes/origin/master": False,
    "refs/notes/commits": False,
    "HEAD": False,
}

#: Which repository a checkout's remote names; None: none that we would fetch;
#: `elsewhere`: if any, then another one than those that we know.
URLS: dict[str, str | None] = {
    "https://github.com/o/r.git": "github.com/o/r",
    "git@github.com:o/r.git": "github.com/o/r",
    "ssh://git@host:7999/p/r.git": "host/p/r",
    "ext::sh -c touch% /tmp/pwn": None,
    "EXT::sh -c x": None,
    "fd::17/foo": None,
    "file:///etc": None,
    "/srv/other-repo": None,
    "../x": None,
    "--upload-pack=touch /tmp/pwn;git-upload-pack": None,
    "-oProxyCommand=x:y": None,
    "ssh://-oProxyCommand=x/y": None,
    "ssh://-oProxyCommand=x@h/y": None,
    "git://github.com/o/r": None,
    "http://github.com/o/r": None,
    "https://user:tok@github.com/o/r": "github.com/o/r",
    "https://github.com.evil.example/o/r": "github.com.evil.example/o/r",
    "https://github.com@evil.example/o/r": "evil.example/o/r",
    "https://github.com\\@evil.example/o/r": "evil.example/o/r",
    "https://github.com/o/r.git\nX: y": None,
    "https://127.0.0.1/r": "elsewhere",
    "https://[::1]/r": None,
    "https://169.254.169.254/latest": "elsewhere",
    "https:///example.com/r": None,
    "https://GITHUB.COM/O/R": "github.com/O/R",
    "https://github.com/o/../x/r": None,
}
#: Which of these are remotes of the repository `github.com/o/r`.
SERVED = {
    "https://github.com/o/r.git",
    "git@github.com:o/r.git",
    "https://user:tok@github.com/o/r",
    "https://GITHUB.COM/O/R",
}
OURS = Repository("github.com", "o/r")


class BodyTests(SynchronousTestCase):
    """One test for each body, made below."""

    def test_unproved(self) -> None:
        """Without a right signature none of them is looked at: 401 for each."""
        for what, body in BODIES.items():
            incoming = SENDERS[body.sender].sign(body.sent, b"guessed")
            self.assertEqual(refusal(incoming).status, 401, what)

    def test_duplicate_keys(self) -> None:
        """A push that says its ref twice means one of the two, the same for every reader here."""
        sent = encoded(plain_push())[:-1] + b', "ref": "refs/heads/b"}'
        (push,) = receive(SENDERS["plain"].sign(sent, SECRET), KEYS).pushes
        self.assertEqual(push.ref, "refs/heads/b")

    def test_every_sender(self) -> None:
        """What is no JSON object is answered 400, whoever sent it (threat 17)."""
        for name, sender in SENDERS.items():
            for what in ("depth 1000", "BOM", "utf-16 body", "array top", "null top", "empty"):
                rejected = refusal(sender.send(BODIES[what].sent))
                self.assertEqual(rejected.status, 400, f"{what} from {name}")


class RefTests(SynchronousTestCase):
    """One test for each ref, made below."""


class UrlTests(SynchronousTestCase):
    """One test for each URL, made below."""

    def test_users(self) -> None:
        """Whatever user a remote names, what we fetch from for ourselves names none."""
        repo = repository_of_url("https://user:tok@h/y")
        assert repo is not None
        self.assertEqual(source_of(repo, ()).url, "https://h/y.git")

    def test_a_trusts_url_counts_word_for_word(self) -> None:
        """What an administrator wrote as a URL is a remote of the repository, and nothing near it."""
        source = source_of(OURS, [Trust((), ("**",), url="file:///srv/{name}.git")])
        self.assertTrue(source.is_served_by("file:///srv/r.git"))
        for near in ("/srv/r.git", "file:///srv/r", "file:///srv/../srv/r.git", "file:///etc"):
            self.assertFalse(source.is_served_by(near), near)


def _body_test(what: str) -> Callable[[SynchronousTestCase], None]:
    body = BODIES[what]

    def test(self: SynchronousTestCase) -> None:
        sender: Sender = SENDERS[body.sender]
        incoming = sender.sign(body.sent, SECRET)
        outcome: Any
        try:
            outcome = receive(incoming, KEYS).pushes
        except Rejected as rejected:
            outcome = rejected.status
        if body.status is not None:
            self.assertEqual(outcome, body.status)
        else:
            self.assertIsInstance(outcome, tuple)

    test.__doc__ = f"{what}: {body.status or 'let in'} (threats 17 and 18)."
    return test


def _ref_test(ref: str) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        for name, build in (
            ("github", github_push),
            ("gitlab", gitlab_push),
            ("plain", plain_push),
        ):
            delivery = receive(SENDERS[name].send(encoded(build(ref=ref))), KEYS)
            (push,) = delivery.pushes
            self.assertEqual(push.ref, ref)
            decision = decide(push, None)
            self.assertEqual(decision.outcome, ACCEPTED if REFS[ref] else IGNORED)
            wanted = [ref.removeprefix("refs/heads/")] if REFS[ref] else []
            self.assertEqual([target.branch for target in decision.targets], wanted)
            self.assertLess(len(decision.reason), 1000)
            gone = decide(replace(push, deleted=True), None)
            self.assertEqual((gone.outcome, gone.targets), (IGNORED, ()))

    test.__doc__ = f"{ref[:60]!a} is {'' if REFS[ref] else 'not '}deployed."
    return test


def _url_test(url: str) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        repo = repository_of_url(url)
        if URLS[url] == "elsewhere":
            self.assertNotIn(str(repo), URLS.values())
        else:
            self.assertEqual(repo and str(repo), URLS[url])
        source = source_of(OURS, ())
        self.assertEqual(source, Source(OURS, "https://github.com/o/r.git"))
        self.assertEqual(source.is_served_by(url), url in SERVED)
        self.assertEqual(source.protocols, "https:ssh")

    test.__doc__ = f"{url!a} names {URLS[url] or 'nothing'}."
    return test


def _folder_test(file: str, known: set[str]) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        entries = json.loads((FOLDER / f"{file}.SYNTHETIC.json").read_text("utf-8"))
        found = {entry[0] for entry in entries}
        if file == "refs":
            found = {_LONG if len(one) > 1000 else one for one in found}
        self.assertEqual(found - known, set())

    test.__doc__ = f"Every entry of the folder's {file} is in the table above."
    return test


def _entry_test(what: str, sent: bytes) -> Callable[[SynchronousTestCase], None]:
    def test(self: SynchronousTestCase) -> None:
        self.assertEqual(BODIES[what].sent, sent)

    test.__doc__ = f"The body of {what} here is the one of the folder."
    return test


def _add(case: type[SynchronousTestCase], name: str, test: Callable[..., None]) -> None:
    test.__name__ = "test_" + re.sub(r"\W+", "_", name, flags=re.ASCII)
    test.__qualname__ = f"{case.__name__}.{test.__name__}"
    assert not hasattr(case, test.__name__), test.__name__
    setattr(case, test.__name__, test)


def _add_tests() -> None:
    """Make a test of each entry, and of the folder where it is there."""
    for what in BODIES:
        _add(BodyTests, what, _body_test(what))
    for number, ref in enumerate(REFS):
        _add(RefTests, f"{number} {ref[:40]}", _ref_test(ref))
    for number, url in enumerate(URLS):
        _add(UrlTests, f"{number} {url}", _url_test(url))
    if not FOLDER.is_dir():
        return
    for case, file, known in (
        (BodyTests, "bodies", set(BODIES)),
        (RefTests, "refs", set(REFS)),
        (UrlTests, "urls", set(URLS)),
    ):
        _add(case, f"folder {file}", _folder_test(file, known))
    for what, text, _ in json.loads((FOLDER / "bodies.SYNTHETIC.json").read_text("utf-8")):
        # The others are described, not written out.
        if what not in ("depth 1000", "5001-digit int", "bad utf-8", "utf-16 body"):
            _add(BodyTests, f"folder has {what}", _entry_test(what, text.encode()))


_add_tests()
