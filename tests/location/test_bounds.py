"""Tests of where a location may really be, with real symbolic links."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from integralgit.hostconfig.resolve import Deployment
from integralgit.location.bounds import check_apart, check_place
from integralgit.location.plan import Refused
from integralgit.settings import Trust


class Places(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).resolve()
        for name in ("srv/acme/site", "data", "home"):
            (self.root / name).mkdir(parents=True)

    def refusal(self, location: str, *locations: str, branches: tuple[str, ...] = ("**",)) -> str:
        """Why a trust with those patterns does not allow a location; empty if it does."""
        trust = Trust(("secret",), ("**",), tuple(self.path(one) for one in locations), branches)
        never = Trust(("secret",), ("**",), ("/**",), branches=("other",))
        try:
            check_place(Deployment("web1", self.path(location), "main"), [never, trust])
        except Refused as refused:
            return str(refused)
        return ""

    def path(self, name: str) -> str:
        """That path below the folder of the test; `**` is everything."""
        return name if name == "**" else str(self.root / name)

    def link(self, name: str, to: str) -> None:
        """Make a symbolic link."""
        os.symlink(self.path(to), self.path(name))

    def test_without_links(self) -> None:
        """A location is where its text says, whether it is there already or not."""
        for location in ("srv/acme/site", "srv/acme/new"):
            self.assertEqual(self.refusal(location, "srv/acme/*"), "")
        self.assertEqual(self.refusal("srv/acme/new/deep", "srv/acme/**"), "")

    def test_a_link_that_leads_out(self) -> None:
        """A link in a checkout does not lead another location out of the bounds (threat 54)."""
        self.link("srv/acme/site/out", "home")
        for location in ("srv/acme/site/out", "srv/acme/site/out/.ssh"):
            self.assertEqual(
                self.refusal(location, "srv/acme/**"),
                f"the server's settings do not allow it: {self.path(location)} is really"
                f" {os.path.realpath(self.path(location))}, which is not in locations ="
                f" {self.path('srv/acme/**')}",
            )

    def test_among_the_files_of_git_and_of_ours(self) -> None:
        """No location lies in a git folder or in the state folder, nor behind a link to there (threat 54)."""
        self.link("srv/acme/site/theirs", "data")
        for location, said in (
            ("srv/acme/site/.git/objects/info", "lies in a git folder"),
            ("data/logs", "lies in the server's state folder"),
            ("srv/acme/site/theirs/new", "lies in the server's state folder"),
            ("data", "lies in the server's state folder"),
        ):
            with self.assertRaisesRegex(Refused, said):
                check_apart(self.path(location), self.path("data"))
        for location in ("srv/acme/site", "srv/acme/.github", "database"):
            check_apart(self.path(location), self.path("data"))

    def test_a_link_that_stays_within(self) -> None:
        """A link to another place within the bounds is none of their concern."""
        self.link("srv/acme/current", "srv/acme/site")
        self.assertEqual(self.refusal("srv/acme/current", "srv/acme/*"), "")

    def test_a_link_that_leads_to_another_allowed_place(self) -> None:
        """Of several patterns, that of the real place is enough, if its trust allows the rest."""
        self.link("srv/acme/big", "data")
        self.assertIn("is really", self.refusal("srv/acme/big", "srv/acme/*"))
        self.assertEqual(self.refusal("srv/acme/big", "srv/acme/*", "data"), "")

    def test_links_of_the_administrator(self) -> None:
        """Where the fixed beginning of a pattern is a link, what lies behind it is allowed."""
        self.link("www", "data")
        self.link("one", "home")
        self.assertEqual(self.refusal("www/site", "www/*"), "")
        self.assertEqual(self.refusal("one", "one"), "")
        self.assertEqual(self.refusal("one", "*", "one"), "")
        self.assertIn("is really", self.refusal("one", "on?"))

    def test_everywhere(self) -> None:
        """A trust without bounds allows any place, behind links too."""
        self.link("srv/acme/site/out", "home")
        for pattern in ("/**", "**"):
            self.assertEqual(self.refusal("srv/acme/site/out", pattern), "")
