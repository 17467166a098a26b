"""The administrator's settings: what is taken, what is refused and how, and what a trust allows."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from integralgit.names import Repository, repository
from integralgit.settings import (
    KNOWN_HOSTS,
    WEBHOOK_SECRET,
    Settings,
    SettingsError,
    Trust,
    make_settings,
)

SITE = Repository("github.com", "acme/site")
TRUST = Trust(("a.secret",), ("github.com/acme/*",))


def complaint(toml: dict[str, Any], options: dict[str, Any] | None = None) -> str:
    """The text of the error that these settings give."""
    try:
        made = make_settings(toml, options or {})
    except SettingsError as error:
        return str(error)
    raise AssertionError(f"the settings were taken: {made}")


class DefaultTests(SynchronousTestCase):
    def test_everything_has_a_default(self) -> None:
        """Without options and file, the server listens on loopback and asks for its token (threat 83)."""
        made = make_settings({}, {})
        self.assertEqual(evolve(made, trusts=()), Settings())
        self.assertEqual(made.listen, ("tcp:8080:interface=127.0.0.1",))
        self.assertEqual(made.state, "integralgit-state")
        self.assertEqual((made.public, made.allow_root, made.umask), (False, False, 0o022))
        self.assertEqual((made.workers, made.git_timeout, made.max_body), (4, 600, 25_000_000))

    def test_the_generated_secret_is_trusted_for_the_known_hosts(self) -> None:
        """With no `[[trust]]`, the generated secret speaks for repositories of known hosts only."""
        (trust,) = make_settings({}, {}).trusts
        self.assertEqual(trust.secret_files, (WEBHOOK_SECRET,))
        for host in KNOWN_HOSTS:
            self.assertTrue(trust.covers(repository(host, "any/group/name")), host)
        for host in ("evil.example", "github.com.evil.example", "github.com:8443"):
            self.assertFalse(trust.covers(repository(host, "any/name")), host)


class ValueTests(SynchronousTestCase):
    def test_every_setting(self) -> None:
        """Each setting of the file becomes its typed value."""
        made = make_settings(
            {
                "listen": ["tcp:80", "unix:/run/ig.sock"],
                "state": "/var/lib/integralgit",
                "url": "https://deploy.example.com/",
                "host_names": ["web1", "web2"],
                "allowed_hosts": ["Deploy.Example.COM"],
                "public": True,
                "umask": "027",
                "workers": 8,
                "git_timeout": "10m",
                "max_body": "5MB",
                "allow_root": True,
            },
            {},
        )
        self.assertEqual(
            evolve(made, trusts=()),
            Settings(
                listen=("tcp:80", "unix:/run/ig.sock"),
                state="/var/lib/integralgit",
                url="https://deploy.example.com",
                host_names=("web1", "web2"),
                allowed_hosts=("deploy.example.com",),
                public=True,
                umask=0o027,
                workers=8,
                git_timeout=600.0,
                max_body=5_000_000,
                allow_root=True,
            ),
        )

    def test_options_win(self) -> None:
        """What the command line says wins over the file, setting by setting."""
        made = make_settings({"workers": 8, "state": "a"}, {"workers": "2"})
        self.assertEqual((made.workers, made.state), (2, "a"))

    def test_one_text_for_a_list(self) -> None:
        """A single text is a list of one."""
        self.assertEqual(make_settings({"listen": "tcp:80"}, {}).listen, ("tcp:80",))

    def test_unknown_name(self) -> None:
        """An unknown setting is named, with what may have been meant."""
        self.assertEqual(
            complaint({"alowed_hosts": ["x"]}),
            "unknown setting `alowed_hosts`; did you mean `allowed_hosts`?",
        )
        self.assertEqual(complaint({"zzz": 1}), "unknown setting `zzz`")

    def test_wrong_values(self) -> None:
        """A wrong value stops the start with one line that names the setting."""
        wrong: list[tuple[str, Any]] = [
            ("listen", []),
            ("listen", ""),
            ("listen", [1]),
            ("listen", {"a": 1}),
            ("state", 5),
            ("state", ""),
            ("state", "a\0b"),
            ("url", "deploy.example.com"),
            ("url", "ftp://deploy.example.com"),
            ("url", "https://"),
            ("url", "https://deploy.example.com/path"),
            ("url", "https://deploy.example.com?x=1"),
            ("url", "https://["),
            ("host_names", [None]),
            ("public", "yes"),
            ("public", 1),
            ("umask", "099"),
            ("umask", 0o1000),
            ("umask", -1),
            ("umask", True),
            ("workers", 0),
            ("workers", 1001),
            ("workers", "x"),
            ("workers", 1.5),
            ("workers", True),
            ("git_timeout", 0),
            ("git_timeout", "soon"),
            ("max_body", "25 miles"),
            ("max_body", -1),
            ("allow_root", "true"),
        ]
        for name, value in wrong:
            told = complaint({name: value})
            self.assertIn(f"`{name}`", told)
            self.assertNotIn("\n", told)

    def test_url(self) -> None:
        """The server's URL is a scheme, a host and perhaps a port, and nothing besides."""
        for url in (
            "https://deploy.example.com#top",
            "https://deploy.example.com/#",
            "https://deploy.example.com?",
            "https://deploy.example.com/?x=1",
            "https://ann@deploy.example.com",
            "https://ann:secret@deploy.example.com",
            "https://deploy.example.com:",
            "https://deploy.example.com:port",
            "https://deploy.example.com:-1",
            "https://deploy.example.com:123456",
            "https://deploy example.com",
            "https://deploy.example.com\n",
        ):
            self.assertIn("`url` must be like https://", complaint({"url": url}))
        for url in ("http://localhost:8080", "https://deploy.example.com:8443"):
            self.assertEqual(make_settings({"url": url}, {}).url, url)

    def test_max_body(self) -> None:
        """A delivery may be bounded to no less than 1 kB and no more than 100 MB."""
        for size, wanted in (("1kB", 1000), (1000, 1000), ("100MB", 100_000_000)):
            self.assertEqual(make_settings({"max_body": size}, {}).max_body, wanted)
        for size in (0, 999, "0.9kB", 100_000_001, "1GB"):
            self.assertIn("`max_body` must be from 1kB to 100MB", complaint({"max_body": size}))

    def test_umask(self) -> None:
        """A umask is text of octal digits; a number could mean two things, and is refused."""
        for text, wanted in (("022", 0o022), ("77", 0o077), ("0", 0), ("0027", 0o027)):
            self.assertEqual(make_settings({"umask": text}, {}).umask, wanted)
        wrong: list[Any] = [0o022, 22, 0, 2.2, "", "8", "0o22", "-22", "+22", " 22", "00022", "2_2"]
        for value in wrong:
            self.assertIn("`umask` must be text", complaint({"umask": value}))

    def test_host_names(self) -> None:
        """A name of this host has only what names of hosts have."""
        names = ["web1", "web-1.example.com", "WEB_2"]
        self.assertEqual(make_settings({"host_names": names}, {}).host_names, tuple(names))
        for name in ("web 1", "web*", "web1/x", "web1.", ".web1", "a..b", "web1\n", "wéb", "$(id)"):
            self.assertIn("is not the name of a host", complaint({"host_names": ["web1", name]}))

    def test_trusted_proxies(self) -> None:
        """Trusted proxies are addresses and networks, and nothing else."""
        made = make_settings({"trusted_proxies": ["10.0.0.0/8", "127.0.0.1", "fd00::/8"]}, {})
        self.assertEqual(made.trusted_proxies, ("10.0.0.0/8", "127.0.0.1/32", "fd00::/8"))
        self.assertEqual(make_settings({}, {}).trusted_proxies, ())
        wrong: list[Any] = ["proxy.example.com", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "", 5, []]
        for value in wrong:
            told = complaint({"trusted_proxies": value})
            self.assertIn("`trusted_proxies`", told)
            if value and isinstance(value, str):
                self.assertIn("must be addresses such as 127.0.0.1 or networks such as", told)
            self.assertNotIn("\n", told)

    def test_poll(self) -> None:
        """The remotes are looked at never, or every second at most; what is wrong names the range."""
        for value, wanted in ((0, 0), (1, 1), ("5m", 300), ("30d", 2_592_000)):
            self.assertEqual(make_settings({"poll": value}, {}).poll, wanted)
        wrong: list[Any] = [0.5, "31d"]
        for value in wrong:
            told = complaint({"poll": value})
            self.assertIn("`poll` must be 0 for never, or from 1 second to 30 days, not", told)

    def test_a_number_beyond_all_bounds(self) -> None:
        """A number too large to reckon with is out of range, and named as other wrong ones are."""
        for name in ("git_timeout", "max_body"):
            self.assertEqual(complaint({name: 10**400}), f"the setting `{name}` is out of range")


class TrustTableTests(SynchronousTestCase):
    def test_every_key(self) -> None:
        """A `[[trust]]` ties its secrets to repositories and to what they may do."""
        made = make_settings(
            {
                "trust": [
                    {
                        "secret_file": ["/etc/new.secret", "/etc/old.secret"],
                        "repos": ["github.com/acme/*"],
                        "locations": ["/srv/acme/*"],
                        "branches": "main",
                        "scripts": ["./*"],
                        "env": [],
                        "url": "/srv/git/{name}.git",
                    }
                ]
            },
            {},
        )
        self.assertEqual(
            made.trusts,
            (
                Trust(
                    secret_files=("/etc/new.secret", "/etc/old.secret"),
                    repos=("github.com/acme/*",),
                    locations=("/srv/acme/*",),
                    branches=("main",),
                    scripts=("./*",),
                    env=(),
                    url="/srv/git/{name}.git",
                ),
            ),
        )

    def test_a_trust_replaces_the_default(self) -> None:
        """With a `[[trust]]`, the generated secret is trusted for nothing besides (threat 53)."""
        made = make_settings({"trust": [{"secret_file": "s", "repos": ["github.com/acme/*"]}]}, {})
        self.assertEqual(made.trusts_for(repository("github.com", "other/site")), ())
        self.assertEqual(made.trusts_for(SITE), made.trusts)

    def test_the_generated_secret_where_none_is_named(self) -> None:
        """A trust without `secret_file` is about the generated secret."""
        (trust,) = make_settings({"trust": [{"repos": ["github.com/acme/*"]}]}, {}).trusts
        self.assertEqual(trust.secret_files, (WEBHOOK_SECRET,))

    def test_trusts_of_a_repository_keep_their_order(self) -> None:
        """The trusts that cover a repository come in the order of the file."""
        tables = [{"repos": "**/site"}, {"repos": "github.com/b/*"}, {"repos": "github.com/acme/*"}]
        made = make_settings({"trust": tables}, {})
        self.assertEqual(made.trusts_for(SITE), (made.trusts[0], made.trusts[2]))

    def test_wrong_tables(self) -> None:
        """A wrong trust is named by its number and its key."""
        self.assertIn("[[trust]]", complaint({"trust": {"repos": ["x"]}}))
        self.assertIn("[[trust]]", complaint({"trust": ["x"]}))
        good = {"repos": ["github.com/acme/*"]}
        cases: list[tuple[dict[str, Any], str]] = [
            ({}, "[[trust]] number 2: `repos` is missing"),
            ({"repos": []}, "`repos` in [[trust]] number 2"),
            ({"repos": 5}, "`repos` in [[trust]] number 2"),
            ({"repo": ["x"]}, "`repo` in [[trust]] number 2; did you mean `repos`?"),
            ({**good, "url": 5}, "`url` in [[trust]] number 2"),
            ({**good, "secret_file": [""]}, "`secret_file` in [[trust]] number 2"),
        ]
        for table, wanted in cases:
            self.assertIn(wanted, complaint({"trust": [good, table]}))

    def test_urls(self) -> None:
        """A URL to clone from has one of git's own forms, and a user only with ssh."""
        for url in (
            "https://git.example.com/{full_name}.git",
            "https://git.example.com/a@b/{name}",
            "ssh://git@git.example.com:7999/{full_name}.git",
            "git@deploy-key-host:{full_name}.git",
            "key-host:{name}",
            "[::1]:{name}",
            "/srv/git/{name}.git",
            "file:///srv/git/{name}.git",
        ):
            table = {"repos": ["github.com/acme/*"], "url": url}
            self.assertEqual(make_settings({"trust": [table]}, {}).trusts[0].url, url)

    def test_a_url_in_the_clear(self) -> None:
        """Over http anybody on the way could change what is deployed: that has to be allowed."""
        table = {"repos": ["git.example.com/*"], "url": "http://127.0.0.1:8000/{full_name}"}
        told = complaint({"trust": [table]})
        self.assertIn(
            "number 1: `url` must begin with https://, or be allowed by `allow_http = true`", told
        )
        (trust,) = make_settings({"trust": [{**table, "allow_http": True}]}, {}).trusts
        self.assertEqual(trust.url, table["url"])

    def test_urls_with_secrets(self) -> None:
        """A password, or a token in the place of a user, is refused and not repeated (threats 46 and 61)."""
        for url in (
            "https://user:s3cret@github.com/{full_name}.git",
            "https://s3cret@github.com/{full_name}.git",
            "https://user:s3c@ret@github.com/{full_name}.git",
            "https://user:@github.com/s3cret",
            "http://user:s3cret@127.0.0.1/{full_name}.git",
            "ssh://git:s3cret@github.com/{full_name}.git",
        ):
            told = complaint({"trust": [{"repos": ["github.com/acme/*"], "url": url}]})
            self.assertEqual(
                told,
                "the setting `url` in [[trust]] number 1 must not hold a user name or password,"
                " which others could read; give git a credential helper, or use ssh with a key",
            )

    def test_what_matches_nothing(self) -> None:
        """A bound or a URL that could never mean a repository or a location stops the start."""
        for key, value, said in (
            ("repos", ["https://github.com/acme/*"], "write the git host and the full name"),
            ("repos", ["site"], "write the git host and the full name"),
            ("repos", ["*"], "such as github.com/acme/*"),
            ("repos", ["github.com/"], "such as github.com/acme/*"),
            ("branches", ["refs/heads/main"], "write the name of the branch alone, such as main"),
            ("locations", ["srv/*"], "matches no location"),
            ("locations", ["/srv/www/"], "matches no location"),
            ("url", "git/{name}.git", "or an absolute path"),
            ("url", "/srv/git/{repo}.git", "may hold `{full_name}` and `{name}`"),
        ):
            told = complaint({"trust": [{"repos": ["github.com/acme/*"], key: value}]})
            self.assertIn(f"the setting `{key}` in [[trust]] number 1 ", told)
            self.assertIn(said, told)
        for key, pattern in (
            ("repos", "gitea/acme/*"),
            ("repos", "gitea/*"),
            ("repos", "gitea/**"),
            ("repos", "gitea:3000/site"),
            ("repos", "localhost/site"),
            ("repos", "*/site"),
            ("repos", "**"),
            ("branches", "release/*"),
            ("locations", "**"),
            ("locations", "*/www"),
        ):
            table = {"repos": ["github.com/**"], key: [pattern]}
            make_settings({"trust": [table]}, {})

    def test_hosts_that_match_no_request(self) -> None:
        """A name that no `Host` header can match is refused, with what to write instead."""
        for name, said in (
            ("https://x.y", "is a URL; write the name of the host alone"),
            (
                "deploy.example.net:8443",
                "has a port; write deploy.example.net, for any port counts",
            ),
            ("[fd00::1]:80", "has a port; write [fd00::1], for any port counts"),
            ("2001:db8::1", "has no brackets; write [2001:db8::1]"),
            ("*.example.com", "is a pattern; write each name in full"),
            ("a b", "is not the name of a host"),
            ("bücher.example", "is not the name of a host"),
        ):
            told = complaint({"allowed_hosts": ["a.example", name]})
            self.assertEqual(told, f"the setting `allowed_hosts` has {name!r}, which {said}")
        hosts = make_settings({"allowed_hosts": ["[FD00::1]", "a.example."]}, {}).allowed_hosts
        self.assertEqual(hosts, ("[fd00::1]", "a.example."))

    def test_urls_that_git_takes_for_something_else(self) -> None:
        """What git would take for an option or a program is no URL (threats 27, 28 and 29)."""
        for url in (
            "--upload-pack=touch x",
            "-x",
            "-oProxyCommand=x:{name}",
            "git@-oProxyCommand=x:{name}",
            "ssh://-oProxyCommand=x/{name}",
            "ssh://-oProxyCommand=x@host/{name}",
            "https://-x/{name}",
        ):
            told = complaint({"trust": [{"repos": ["github.com/acme/*"], "url": url}]})
            self.assertIn("`url` in [[trust]] number 1 must not begin with `-`", told, url)
        for url in ("ext::sh -c x", "fd::7", "git://h/x", "ftp://h/x", "HTTPS://h/x", "a::b"):
            told = complaint({"trust": [{"repos": ["github.com/acme/*"], "url": url}]})
            self.assertIn("`url` in [[trust]] number 1 must be an https or ssh URL", told, url)


class TrustTests(SynchronousTestCase):
    def test_covers_without_regard_to_case(self) -> None:
        """Git hosts do not tell `Acme` from `acme`, and nor does a trust."""
        self.assertTrue(TRUST.covers(SITE))
        self.assertTrue(TRUST.covers(Repository("github.com", "ACME/Site")))
        self.assertTrue(evolve(TRUST, repos=("GitHub.com/Acme/*",)).covers(SITE))

    def test_covers_nothing_else(self) -> None:
        """Another owner, another host, or a longer name is not covered."""
        for one in (
            Repository("github.com", "acme2/site"),
            Repository("gitlab.com", "acme/site"),
            Repository("github.com", "acme/site/x"),
            Repository("evil.example", "github.com/acme/site"),
        ):
            self.assertFalse(TRUST.covers(one), str(one))

    def test_clone_url(self) -> None:
        """The URL that a trust sets is the one to clone from, with the names put in."""
        for url, wanted in (
            ("git@deploy-key-host:{full_name}.git", "git@deploy-key-host:acme/site.git"),
            ("/srv/git/{name}.git", "/srv/git/site.git"),
            ("https://mirror.example.com/one.git", "https://mirror.example.com/one.git"),
        ):
            self.assertEqual(evolve(TRUST, url=url).clone_url(SITE), wanted)
        spaced = Repository("dev.azure.com", "org/My Web/site")
        for url, wanted in (
            (
                "https://proxy.example.com/{full_name}.git",
                "https://proxy.example.com/org/My%20Web/site.git",
            ),
            ("/srv/git/{full_name}.git", "/srv/git/org/My Web/site.git"),
        ):
            self.assertEqual(evolve(TRUST, url=url).clone_url(spaced), wanted)

    def test_no_bounds_no_violation(self) -> None:
        """A trust without bounds allows any location, branch, script and variable."""
        self.assertIsNone(TRUST.violation("/srv/any/where", "feature/x", "/opt/special.sh"))
        self.assertIsNone(TRUST.violation("/srv/site", "main", None, ("LD_PRELOAD",)))
        told = evolve(TRUST, env=()).violation("/srv/site", "main", None, ("COLOUR",))
        self.assertTrue((told or "").endswith("COLOUR is not in env = nothing"))

    def test_a_violation_names_the_rule(self) -> None:
        """What a deployment may not do is told with the rule and its patterns."""
        bounded = evolve(
            TRUST,
            locations=("/srv/acme/*",),
            branches=("main", "release/*"),
            scripts=("./*",),
            env=("APP_*", "COLOUR"),
        )
        fine = ("/srv/acme/site", "release/1", "deploy.sh")
        self.assertIsNone(bounded.violation(*fine, ("COLOUR", "APP_SIZE")))
        for told, rule, patterns in (
            (("/srv/other", "main", "deploy.sh"), "locations", "/srv/acme/*"),
            (("/srv/acme/a/b", "main", "deploy.sh"), "locations", "/srv/acme/*"),
            (("/srv/acme/site", "dev", "deploy.sh"), "branches", "main, release/*"),
            (("/srv/acme/site", "main", "/bin/sh"), "scripts", "./*"),
            (("/srv/acme/site", "main", "bin/deploy.sh"), "scripts", "./*"),
            ((*fine, ("COLOUR", "LD_PRELOAD")), "env", "APP_*, COLOUR"),
            ((*fine, ("colour",)), "env", "APP_*, COLOUR"),
            ((*fine, ("COLOURS",)), "env", "APP_*, COLOUR"),
        ):
            self.assertIn(f"{rule} = {patterns}", bounded.violation(*told) or "")

    def test_no_script_needs_no_permission(self) -> None:
        """A config that only updates breaks no rule about scripts."""
        self.assertIsNone(
            evolve(TRUST, scripts=("./deploy.sh",)).violation("/srv/site", "main", None)
        )

    def test_two_spellings_of_one_script(self) -> None:
        """`deploy.sh` and `./deploy.sh` are the same script, in the config and in the pattern."""
        for pattern in ("deploy.sh", "./deploy.sh"):
            bounded = evolve(TRUST, scripts=(pattern,))
            for script in ("deploy.sh", "./deploy.sh", ".//deploy.sh", "bin/../deploy.sh"):
                self.assertIsNone(bounded.violation("/srv/site", "main", script), script)
            self.assertIsNotNone(bounded.violation("/srv/site", "main", "other.sh"))

    def test_a_script_cannot_climb_out_of_its_folder(self) -> None:
        """A path with `..` is judged by where it leads (threat 55)."""
        bounded = evolve(TRUST, scripts=("/opt/deploy/**",))
        self.assertIsNone(bounded.violation("/srv/site", "main", "/opt/deploy/a/b.sh"))
        self.assertIsNotNone(bounded.violation("/srv/site", "main", "/opt/deploy/../evil.sh"))

    def test_a_script_that_ends_with_a_star(self) -> None:
        """A star at the end of a script's path does not hide where its `..` leads."""
        for pattern, script in (
            ("/opt/ok/**", "/opt/ok/../../tmp/evil*"),
            ("/opt/ok/*", "/opt/ok/../*"),
            ("a/**", "a/../evil*"),
            ("./a/**", "./a/../evil*"),
        ):
            told = evolve(TRUST, scripts=(pattern,)).violation("/srv/site", "main", script)
            self.assertIn(f"scripts = {pattern}", told or "", script)

    def test_a_relative_pattern_allows_the_checkout_only(self) -> None:
        """A pattern that is no absolute path allows scripts in the checkout; `**` alone allows any."""
        for pattern in ("./**", "**/*", "./**/*"):
            bounded = evolve(TRUST, scripts=(pattern,))
            self.assertIsNotNone(bounded.violation("/srv/site", "main", "/opt/evil"), pattern)
            self.assertIsNone(bounded.violation("/srv/site", "main", "./bin/deploy.sh"), pattern)
        anywhere = evolve(TRUST, scripts=("**",))
        for script in ("/opt/special.sh", "./deploy.sh", "bin/deploy.sh", "/opt/ok/../evil*"):
            self.assertIsNone(anywhere.violation("/srv/site", "main", script), script)
