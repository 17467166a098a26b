"""What may be a name here: of a repository, a branch, a remote, a commit; and how patterns match."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from integralgit.names import (
    Repository,
    are_commits,
    https_url,
    is_branch,
    is_commit,
    is_remote,
    matches,
    parse_repository,
    public_url,
    repository,
    repository_of_url,
)

SITE = Repository("github.com", "acme/site")


class RepositoryTests(SynchronousTestCase):
    def test_text_is_host_and_full_name(self) -> None:
        """A repository's identity as text is its git host and its full name."""
        self.assertEqual(str(repository("github.com", "acme/site")), "github.com/acme/site")

    def test_name_is_the_last_part(self) -> None:
        """The short name is the last part of the full name, however deep that is."""
        self.assertEqual(repository("gitlab.com", "acme/web/site").name, "site")
        self.assertEqual(repository("git.example.com", "site").name, "site")

    def test_host_is_lower_case(self) -> None:
        """The host is the same in any case; the full name keeps the case it was told in."""
        self.assertEqual(str(repository("GitHub.COM", "Acme/Site")), "github.com/Acme/Site")

    def test_host_may_have_a_port(self) -> None:
        """A git host on a port of its own is another host."""
        self.assertEqual(str(repository("git.example.com:8443", "a/b")), "git.example.com:8443/a/b")

    def test_names_as_git_hosts_allow_them(self) -> None:
        """Dots, dashes, underscores, tildes and spaces within a name are allowed."""
        for name in (
            "acme/site.js",
            "acme/.github",
            "~ann/site",
            "org/My Project/my-repo_2",
            "é/à",
        ):
            self.assertEqual(repository("dev.azure.com", name).full_name, name)

    def test_names_that_could_mean_something_else(self) -> None:
        """A name that is a path upwards, an option, empty or holds control characters is refused."""
        for name in (
            "",
            "/",
            "acme/",
            "/acme/site",
            "acme//site",
            "acme/..",
            "../site",
            "acme/./site",
            "-acme/site",
            "acme/-site",
            "acme/--upload-pack=x",
            "acme/si\nte",
            "acme/site\n",
            "acme/si\0te",
            "acme/si\\te",
            "acme/site?x=1",
            "acme/site#x",
            "acme/$(id)",
            "acme/<b>",
            "a/" + "b" * 300,
        ):
            with self.assertRaises(ValueError, msg=repr(name)):
                repository("github.com", name)

    def test_hosts_that_are_none(self) -> None:
        """What is not a plain host name, perhaps with a port, is refused as a host."""
        for host in (
            "",
            "-oProxyCommand=x",
            ".github.com",
            "github.com.",
            "git..hub.com",
            "user@github.com",
            "github.com/x",
            "git hub.com",
            "github.com\n",
            "github.com:",
            "github.com:x",
            "github.com:123456",
            "gïthub.com",
            "[::1]",
            "a" * 300,
        ):
            with self.assertRaises(ValueError, msg=repr(host)):
                repository(host, "acme/site")

    def test_the_error_does_not_repeat_a_long_name(self) -> None:
        """The message about a hostile name stays short."""
        error = self.assertRaises(ValueError, repository, "github.com", "\n" * 100_000)
        self.assertLess(len(str(error)), 500)

    def test_parse_reads_what_text_gives(self) -> None:
        """The text of an identity reads back as the same repository."""
        for one in (SITE, repository("git.example.com:8443", "P/web/site")):
            self.assertEqual(parse_repository(str(one)), one)

    def test_parse_refuses_half_an_identity(self) -> None:
        """A host without a repository, or nothing at all, is no identity."""
        for identity in ("", "github.com", "github.com/", "/acme/site", "../../etc"):
            with self.assertRaises(ValueError, msg=identity):
                parse_repository(identity)

    @settings(derandomize=True, max_examples=200)
    @given(st.text(), st.text())
    def test_any_text_is_a_name_or_a_value_error(self, host: str, name: str) -> None:
        """Whatever the text is, it gives a repository that reads back, or a `ValueError`."""
        try:
            found = repository(host, name)
        except ValueError:
            return
        self.assertEqual(parse_repository(str(found)), found)


class UrlTests(SynchronousTestCase):
    def test_https_url(self) -> None:
        """The URL to clone from is built from the identity, and quoted."""
        self.assertEqual(https_url(SITE), "https://github.com/acme/site.git")
        self.assertEqual(
            https_url(repository("git.example.com", "a/My site")),
            "https://git.example.com/a/My%20site.git",
        )

    def test_https_url_by_the_kind_of_host(self) -> None:
        """Kinds of git hosts that have paths of their own get those; others get the usual one."""
        for one, provider, wanted in (
            (SITE, "github", "https://github.com/acme/site.git"),
            (
                repository("git.example.com", "P/site"),
                "gitea",
                "https://git.example.com/P/site.git",
            ),
            (
                repository("git.example.com", "P/site"),
                "bitbucket-server",
                "https://git.example.com/scm/P/site.git",
            ),
            (
                repository("git.example.com", "~ann/my site"),
                "bitbucket-server",
                "https://git.example.com/scm/~ann/my%20site.git",
            ),
            (
                repository("dev.azure.com", "org/My Project/site"),
                "azure",
                "https://dev.azure.com/org/My%20Project/_git/site",
            ),
            (
                repository("dev.azure.com", "org/project/site"),
                "",
                "https://dev.azure.com/org/project/_git/site",
            ),
            (
                repository("tfs.example.com", "org/project/site"),
                "azure",
                "https://tfs.example.com/org/project/_git/site",
            ),
            (repository("git.sr.ht", "~ann/site"), "", "https://git.sr.ht/~ann/site"),
            (
                repository("hut.example.com", "~ann/site"),
                "sourcehut",
                "https://hut.example.com/~ann/site",
            ),
        ):
            self.assertEqual(https_url(one, provider), wanted)

    def test_an_owner_called_scm(self) -> None:
        """`scm` is an owner like any other; only Bitbucket Data Center puts it before the path."""
        for url in (
            "git@github.com:scm/site.git",
            "https://github.com/scm/site.git",
            "ssh://git@github.com/scm/site",
        ):
            self.assertEqual(str(repository_of_url(url)), "github.com/scm/site", url)

    def test_the_ways_of_azure(self) -> None:
        """Azure DevOps names one repository in its own ways over https and ssh."""
        for url in (
            "https://dev.azure.com/org/project/_git/site",
            "https://org@dev.azure.com/org/project/_git/site",
            "git@ssh.dev.azure.com:v3/org/project/site",
            "https://org.visualstudio.com/project/_git/site",
            "https://org.visualstudio.com/DefaultCollection/project/_git/site",
            "org@vs-ssh.visualstudio.com:v3/org/project/site",
        ):
            self.assertEqual(str(repository_of_url(url)), "dev.azure.com/org/project/site", url)
        for url, name in (
            ("https://dev.azure.com/org/_git/site", "org/site/site"),
            ("https://org.visualstudio.com/_git/site", "org/site/site"),
            ("git@ssh.dev.azure.com:v3/org/My%20Web/site", "org/My Web/site"),
        ):
            self.assertEqual(str(repository_of_url(url)), f"dev.azure.com/{name}", url)

    def test_the_url_names_the_repository_again(self) -> None:
        """A repository's own URL names that repository."""
        for one in (SITE, repository("git.example.com:8443", "a/My site")):
            self.assertEqual(repository_of_url(https_url(one)), one)

    def test_the_ways_to_write_a_remote(self) -> None:
        """Https, ssh and the short form of ssh, with or without `.git`, name one repository."""
        for url in (
            "https://github.com/acme/site.git",
            "https://github.com/acme/site",
            "https://github.com/acme/site/",
            "https://github.com:443/acme/site.git",
            "https://GITHUB.com/acme/site.git",
            "https://ann@github.com/acme/site.git",
            "ssh://git@github.com/acme/site.git",
            "ssh://git@github.com:22/acme/site.git",
            "git@github.com:acme/site.git",
            "github.com:acme/site",
        ):
            self.assertEqual(repository_of_url(url), SITE, url)

    def test_another_https_port_is_another_host(self) -> None:
        """A port that is not that of https belongs to the identity."""
        self.assertEqual(
            str(repository_of_url("https://git.example.com:8443/a/b.git")),
            "git.example.com:8443/a/b",
        )

    def test_a_host_that_only_looks_alike(self) -> None:
        """A URL names the host that git would talk to, not one that it merely contains."""
        for url in (
            "https://github.com.evil.example/acme/site",
            "https://github.com@evil.example/acme/site",
            "https://github.com\\@evil.example/acme/site",
            "https://evil.example/github.com/acme/site",
            "git@evil.example:acme/site",
        ):
            self.assertNotEqual(repository_of_url(url), SITE, url)

    def test_unusual_urls_name_nothing(self) -> None:
        """Other protocols, options, local paths and broken URLs name no repository (threat 29)."""
        for url in (
            "",
            "ext::sh -c touch% /tmp/pwn",
            "EXT::sh -c x",
            "fd::17/foo",
            "file:///etc",
            "/srv/other-repo",
            "../x",
            "--upload-pack=touch /tmp/pwn;git-upload-pack",
            "-oProxyCommand=x:y",
            "ssh://-oProxyCommand=x/y",
            "git://github.com/acme/site",
            "http://github.com/acme/site",
            "https:///example.com/r",
            "https://[::1/r",
            "https://[::1]/r",
            "https://github.com:port/acme/site",
            "https://github.com/acme/../site",
            "https://github.com/acme/%2e%2e/site",
            "https://github.com/",
        ):
            self.assertIsNone(repository_of_url(url), url)

    @settings(derandomize=True, max_examples=200)
    @given(
        st.sampled_from(["https://", "ssh://git@", "git@", "https://[", "", "HTTPS://"]), st.text()
    )
    def test_any_text_is_a_repository_or_none(self, start: str, rest: str) -> None:
        """A checkout's remote may be any text; it never raises."""
        found = repository_of_url(start + rest)
        self.assertTrue(found is None or parse_repository(str(found)) == found)


class PublicUrlTests(SynchronousTestCase):
    def test_what_is_shown(self) -> None:
        """A URL is shown without what may be secret in it."""
        self.assertEqual(public_url("https://a.b/c"), "https://a.b/c")
        self.assertEqual(public_url("https://u:p@[::1]:8/c?d=e"), "https://[::1]:8/c?…")


class BranchTests(SynchronousTestCase):
    def test_branches_as_people_name_them(self) -> None:
        """Ordinary names are branches, and so are odd ones that git and we can tell from others."""
        for name in (
            "main",
            "feature/x",
            "release/v1.2_3-x",
            "dependabot/npm_and_yarn/@types/node-20",
            "é",
            "a@b",
            "$(id)",
            "`id`",
            "<img/src=x/onerror=alert(1)>",
            "\u202egnp.exe",
            "HEAD/x",
            "a-",
            "x" * 244,
        ):
            self.assertTrue(is_branch(name), name)

    def test_names_that_git_refuses(self) -> None:
        """What git-check-ref-format(1) refuses is no branch."""
        for name in (
            "",
            "a..b",
            "../../etc",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[b",
            "a\\b",
            "a\nb",
            "a\0b",
            "a\x7fb",
            "x.lock",
            "x.lock/y",
            ".x",
            "a/.x",
            "a//b",
            "/a",
            "a/",
            "a.",
            "a@{b",
        ):
            self.assertFalse(is_branch(name), repr(name))

    def test_names_that_git_takes_for_something_else(self) -> None:
        """A name that git would read as an option, a forced refspec or HEAD is no branch (threat 26)."""
        for name in ("-x", "--upload-pack=touch${IFS}/tmp/x", "+main", "@", "HEAD"):
            self.assertFalse(is_branch(name), name)

    def test_names_that_no_file_system_takes(self) -> None:
        """A name too long in bytes, or not writable as UTF-8, is no branch."""
        self.assertFalse(is_branch("x" * 245))
        self.assertFalse(is_branch("é" * 123))
        self.assertFalse(is_branch("a\ud800"))


class OtherNameTests(SynchronousTestCase):
    def test_remotes(self) -> None:
        """A remote is a short plain word; an option or a path is none (threats 26 and 56)."""
        for name in ("origin", "my-fork_2", "a.b"):
            self.assertTrue(is_remote(name), name)
        for name in ("", "-x", ".git", "a/b", "a b", "origin\n", "é", "a:b", "x" * 65):
            self.assertFalse(is_remote(name), repr(name))

    def test_commits(self) -> None:
        """A commit id is 40 or 64 hexadecimal digits in lower case, and nothing shorter."""
        self.assertTrue(is_commit("0a" * 20))
        self.assertTrue(is_commit("0a" * 32))
        for text in ("", "0a" * 19, "0a" * 21, "0A" * 20, "0g" * 20, "0a" * 19 + "٣٣", "HEAD"):
            self.assertFalse(is_commit(text), text)
            self.assertFalse(are_commits(["0a" * 20, text]), text)
        self.assertTrue(are_commits(["0a" * 20, "0a" * 32]))
        self.assertFalse(are_commits(["0a" * 19 + "0", "a" + "0a" * 20]))
        self.assertFalse(are_commits(["0a" * 19 + " 0", "0a" * 20]))
        self.assertTrue(are_commits([]))


class PatternTests(SynchronousTestCase):
    def test_a_star_stops_at_a_slash(self) -> None:
        """`*` matches within one part of a path only."""
        self.assertTrue(matches("github.com/acme/*", "github.com/acme/site"))
        self.assertFalse(matches("github.com/acme/*", "github.com/acme/web/site"))
        self.assertFalse(matches("github.com/*", "github.com/acme/site"))
        self.assertTrue(matches("/srv/*/site", "/srv/acme/site"))

    def test_two_stars_do_not(self) -> None:
        """`**` matches over any number of parts."""
        self.assertTrue(matches("github.com/**", "github.com/acme/web/site"))
        self.assertTrue(matches("**", "a/b\nc"))
        self.assertTrue(matches("/srv/**/site", "/srv/a/b/site"))

    def test_a_question_mark_is_one_character(self) -> None:
        """`?` matches one character that is not a slash."""
        self.assertTrue(matches("web?", "web1"))
        self.assertFalse(matches("web?", "web"))
        self.assertFalse(matches("a?b", "a/b"))

    def test_everything_else_stands_for_itself(self) -> None:
        """Characters that mean something in regular expressions mean nothing here."""
        self.assertTrue(matches("a.b+c[d](e)|f", "a.b+c[d](e)|f"))
        self.assertFalse(matches("a.c", "abc"))
        self.assertFalse(matches("[ab]", "a"))

    def test_the_whole_text_must_match(self) -> None:
        """A pattern without stars matches the very text, not a part of it."""
        self.assertTrue(matches("github.com/acme/site", "github.com/acme/site"))
        for text in ("github.com/acme/site2", "xgithub.com/acme/site", "github.com/acme/site\n"):
            self.assertFalse(matches("github.com/acme/site", text), repr(text))
