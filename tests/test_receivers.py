"""Whom the settings let us tell how deploys go: what is taken, and what is refused and how."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from integralgit.receivers import Forge, Notify
from integralgit.settings import Settings, SettingsError, make_settings

TOKEN = {"token_file": "a.token"}
SLACK = {"form": "slack", "url": "https://hooks.example.com/x"}
MAIL = {"form": "mail", "to": "ops@example.com", "from": "ig@example.com"}


def settings(**tables: dict[str, Any]) -> Settings:
    """The settings of a file with one table of each of those names."""
    return make_settings({name: [table] for name, table in tables.items()}, {})


def forge(**values: Any) -> Forge:
    """The forge of a table."""
    (one,) = settings(forge={**TOKEN, **values}).forges
    return one


def notify(**values: Any) -> Notify:
    """The receiver of a table."""
    (one,) = settings(notify=values).notifies
    return one


class ForgeTests(SynchronousTestCase):
    def test_apis(self) -> None:
        """The address of the API follows from kind and host, as each kind's documentation has it."""
        for values, kind, api in (
            ({"host": "GitHub.com"}, "github", "https://api.github.com"),
            ({"host": "git.acme.com", "kind": "github"}, "github", "https://git.acme.com/api/v3"),
            ({"host": "gitlab.com"}, "gitlab", "https://gitlab.com/api/v4"),
            ({"host": "bitbucket.org"}, "bitbucket", "https://api.bitbucket.org/2.0"),
            ({"host": "codeberg.org"}, "forgejo", "https://codeberg.org/api/v1"),
            ({"host": "a.b:3000", "kind": "gitea"}, "gitea", "https://a.b:3000/api/v1"),
            (
                {"host": "bb.acme.com", "kind": "bitbucket-server"},
                "bitbucket-server",
                "https://bb.acme.com/rest/api/latest",
            ),
            (
                {"host": "a.b", "kind": "gitlab", "api": "https://a.b/git/api/v4/"},
                "gitlab",
                "https://a.b/git/api/v4",
            ),
        ):
            one = forge(**values)
            self.assertEqual((one.kind, one.api), (kind, api))
            self.assertEqual(one.deployments, kind == "github")

    def test_what_is_covered(self) -> None:
        """A forge is told of the repositories of its host that its patterns name, in any case."""
        one = forge(host="github.com", repos=["github.com/Acme/*"])
        self.assertTrue(one.covers("github.com/acme/site"))
        for other in ("github.com/others/site", "github.com.evil.example/acme/site", "x/acme/site"):
            self.assertFalse(one.covers(other), other)
        self.assertTrue(forge(host="github.com").covers("github.com/any/group/name"))

    def test_refused(self) -> None:
        """What is wrong is said in one sentence, with the number of the table."""
        for values, reason in (
            ({}, "`host` is missing"),
            ({"host": "git.example.com"}, "[[forge]] number 1: `kind` is missing; it is one of"),
            ({"host": "a/b"}, "`host` in [[forge]] number 1 must be the name of a host"),
            ({"host": "github.com", "kind": "gogs"}, "must be one of github"),
            ({"host": "github.com", "token": "x"}, "unknown setting `token` in [[forge]] number 1"),
            (
                {"host": "github.com", "api": "http://a.b"},
                "`api` must begin with https://, or be allowed by `allow_http = true`",
            ),
            ({"host": "github.com", "api": "https://u:p@a.b"}, "without a password"),
            ({"host": "github.com", "api": "ftp://a.b"}, "must be an https URL"),
            ({"host": "gitlab.com", "deployments": True}, "`deployments` is for github"),
        ):
            with self.assertRaises(SettingsError) as raised:
                forge(**values)
            self.assertIn(reason, str(raised.exception))
            self.assertIn("[[forge]]", str(raised.exception))
        with self.assertRaises(SettingsError):
            make_settings({"forge": {"host": "github.com"}}, {})

    def test_http_where_it_is_allowed(self) -> None:
        """For a git host in the same room, say, http can be allowed."""
        one = forge(host="a.b", kind="gitea", api="http://a.b:3000/api/v1", allow_http=True)
        self.assertEqual(one.api, "http://a.b:3000/api/v1")


class NotifyTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """Each form has what it needs, and a name that gives nothing secret away."""
        self.assertEqual(notify(**SLACK).name, "hooks.example.com")
        self.assertEqual(notify(form="slack", url_file="/etc/slack.url").name, "slack.url")
        self.assertEqual(notify(**SLACK).events, ("failed", "recovered"))
        mail = notify(**MAIL, relay="mail.example.com")
        self.assertEqual((mail.name, mail.to), ("ops@example.com", ("ops@example.com",)))
        self.assertEqual((mail.sender, mail.relay), ("ig@example.com", ("mail.example.com", 25)))

    def test_refused(self) -> None:
        """What is wrong is said, and a URL that may be a secret is not repeated."""
        for values, reason in (
            ({"url": "https://a.b"}, "`form` is missing"),
            ({"form": "slack"}, "one of `url` and `url_file` is needed"),
            ({**SLACK, "url_file": "x"}, "one of `url` and `url_file` is needed"),
            ({**SLACK, "form": "json"}, "`secret_file` is missing"),
            ({**SLACK, "secret_file": "x"}, "`secret_file` is for the form json"),
            ({**SLACK, "events": ["failure"]}, "must be one of failed, recovered"),
            ({**SLACK, "url": "http://a.b/canary"}, "`url` must begin with https://"),
            ({**SLACK, "url": "https://u:canary@a.b"}, "without a password"),
            ({**SLACK, "url": "https://[canary"}, "must be an https URL"),
            ({**SLACK, "to": "a@b"}, "`to` has no meaning for the form slack"),
            ({**MAIL, "url": "https://a.b"}, "`url` has no meaning for the form mail"),
            ({"form": "mail", "to": "a@b"}, "`from` is missing"),
            ({**MAIL, "to": "a@b\nBcc: c@d"}, "must not hold control characters"),
            ({**MAIL, "to": "nobody"}, "must be an address such as"),
            ({**MAIL, "relay": "a.b:0"}, "must be like localhost:25"),
        ):
            with self.assertRaises(SettingsError) as raised:
                notify(**values)
            self.assertIn(reason, str(raised.exception))
            self.assertNotIn("canary", str(raised.exception))

    def test_names_are_unique(self) -> None:
        """Two receivers of one name are refused, for each has its own queue."""
        with self.assertRaises(SettingsError) as raised:
            make_settings({"notify": [SLACK, SLACK]}, {})
        self.assertIn("two [[notify]] are called hooks.example.com", str(raised.exception))
        self.assertEqual(
            len(make_settings({"notify": [SLACK, SLACK | {"name": "b"}]}, {}).notifies), 2
        )
