"""The one step that brings a checkout to the wanted commit, for everything that it may look like."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from integralgit.location.plan import (
    Merge,
    Move,
    Overwrite,
    Refused,
    Situation,
    Stay,
    Step,
    named,
    out_of_the_way,
    plan,
    shortened,
)

OLD, MINE, TARGET = "0a" * 20, "0b" * 20, "0c" * 20

#: On the right branch, some commits behind, without work of its own.
BEHIND = Situation(head=OLD, on_branch="main", local=OLD, target=TARGET, behind=3)
#: The remote branch was rewritten; what is here came all from it.
REWRITTEN = replace(BEHIND, ahead=2)
#: Two local commits, one of them somebody's own, on top of what the remote has.
WORKED = Situation(head=MINE, on_branch="main", local=MINE, target=TARGET, ahead=2, own=1)
#: The same, and the remote has gone on meanwhile.
DIVERGED = replace(WORKED, behind=3)
#: Already there.
THERE = Situation(head=TARGET, on_branch="main", local=TARGET, target=TARGET)


def refusal(found: Situation, update: str) -> str:
    """Why no step is allowed."""
    try:
        step = plan(found, "main", update)
    except Refused as refused:
        return str(refused)
    raise AssertionError(f"it was planned: {step}")


class SafeTests(SynchronousTestCase):
    def plan(self, found: Situation) -> Step:
        """The step of the default mode."""
        return plan(found, "main", "safe")

    def test_already_there(self) -> None:
        """A checkout that has the commit, on the branch, stays."""
        self.assertEqual(self.plan(THERE), Stay())

    def test_there_but_not_on_the_branch(self) -> None:
        """The same commit on another branch, or detached, is left for the branch to deploy."""
        for on_branch in (None, "other"):
            found = replace(THERE, on_branch=on_branch)
            self.assertEqual(self.plan(found), Move(TARGET))
            self.assertEqual(self.plan(replace(found, local=None)), Move(TARGET))

    def test_fast_forward(self) -> None:
        """A checkout that is only behind moves forward, from wherever HEAD is."""
        for on_branch in ("main", "other", None):
            self.assertEqual(self.plan(replace(BEHIND, on_branch=on_branch)), Move(TARGET))

    def test_first_checkout(self) -> None:
        """An empty checkout, or one without the branch, moves to the commit."""
        empty = Situation(head=None, on_branch="main", local=None, target=TARGET)
        self.assertEqual(self.plan(empty), Move(TARGET))
        self.assertEqual(self.plan(replace(BEHIND, local=None, on_branch="other")), Move(TARGET))

    def test_the_remote_was_rewritten(self) -> None:
        """Where the local commits are all the remote's old ones, the remote is followed."""
        self.assertEqual(self.plan(REWRITTEN), Move(TARGET))
        self.assertEqual(self.plan(replace(REWRITTEN, behind=0)), Move(TARGET))

    def test_local_work(self) -> None:
        """Local work on top of the commit stays as it is."""
        self.assertEqual(self.plan(WORKED), Stay())

    def test_local_work_on_a_branch_that_is_not_checked_out(self) -> None:
        """Where HEAD is elsewhere, the branch with its local work is checked out."""
        for on_branch in (None, "other"):
            self.assertEqual(self.plan(replace(WORKED, on_branch=on_branch)), Move(MINE))

    def test_both_sides_went_on(self) -> None:
        """Local work and new commits are merged."""
        for on_branch in ("main", "other", None):
            self.assertEqual(self.plan(replace(DIVERGED, on_branch=on_branch)), Merge(MINE, TARGET))


class FollowTests(SynchronousTestCase):
    def test_always_the_remote_commit(self) -> None:
        """Whatever there is, the checkout ends at the remote commit."""
        for found in (THERE, BEHIND, REWRITTEN, WORKED, DIVERGED):
            for in_progress in (None, "merge"):
                step = plan(replace(found, in_progress=in_progress), "main", "follow")
                self.assertEqual(step, Overwrite(TARGET))


class FastForwardOnlyTests(SynchronousTestCase):
    def test_fast_forwards(self) -> None:
        """A fast-forward, a first checkout and no change at all are allowed."""
        self.assertEqual(plan(BEHIND, "main", "ff-only"), Move(TARGET))
        self.assertEqual(plan(replace(BEHIND, local=None), "main", "ff-only"), Move(TARGET))
        self.assertEqual(plan(THERE, "main", "ff-only"), Stay())

    def test_anything_else(self) -> None:
        """Anything else fails, and says how many commits are in the way."""
        for found, commits in ((REWRITTEN, "2 commits"), (DIVERGED, "2 commits")):
            reason = refusal(found, "ff-only")
            for part in ("not a fast-forward", "main", commits, "ff-only"):
                self.assertIn(part, reason)
        self.assertIn("1 commit ", refusal(replace(REWRITTEN, ahead=1), "ff-only"))


class InProgressTests(SynchronousTestCase):
    def test_a_merge_of_somebody(self) -> None:
        """What somebody began in the checkout is not disturbed, and is named."""
        for found in (THERE, BEHIND, REWRITTEN, WORKED, DIVERGED):
            for update in ("safe", "ff-only"):
                for what in ("merge", "rebase", "bisect"):
                    self.assertIn(what, refusal(replace(found, in_progress=what), update))


def everything() -> Iterator[Situation]:
    """Every kind of checkout that can be found, by small numbers."""
    for on_branch, local, ahead, behind, own, in_progress in product(
        ("main", "other", None), (None, OLD, TARGET), (0, 1, 2), (0, 1), (0, 1, 2), (None, "merge")
    ):
        consistent = own <= ahead and (local is not None or ahead == 0)
        if local == TARGET:
            consistent = consistent and ahead == behind == 0
        elif local is not None:
            consistent = consistent and ahead + behind > 0
        if consistent:
            head = local if on_branch == "main" else MINE
            yield Situation(head, on_branch, local, TARGET, ahead, behind, own, in_progress)


class EverythingTests(SynchronousTestCase):
    """Rules that hold for whatever is found."""

    def outcomes(self, update: str) -> Iterator[tuple[Situation, Step | None]]:
        """Every checkout with its step, or None where it is refused."""
        for found in everything():
            try:
                yield found, plan(found, "main", update)
            except Refused:
                yield found, None

    def test_safe_overwrites_nothing(self) -> None:
        """The default mode never overwrites, and leaves somebody's own commits on the branch."""
        for found, step in self.outcomes("safe"):
            self.assertNotIsInstance(step, Overwrite)
            if found.own and step == Move(TARGET):
                self.fail(f"own commits would be left behind: {found}")

    def test_fast_forward_only_loses_and_makes_nothing(self) -> None:
        """`ff-only` moves a branch only where that has nothing that the target has not."""
        for found, step in self.outcomes("ff-only"):
            self.assertNotIsInstance(step, Merge | Overwrite)
            if step is not None:
                self.assertEqual(found.ahead, 0)

    def test_a_step_ends_on_the_branch(self) -> None:
        """Staying is planned only for a checkout that is on the branch to deploy."""
        for update in ("safe", "ff-only"):
            for found, step in self.outcomes(update):
                if step == Stay():
                    self.assertEqual((found.on_branch, found.behind), ("main", 0))

    def test_only_what_must_be_is_refused(self) -> None:
        """The default mode refuses only what is in progress."""
        for found, step in self.outcomes("safe"):
            self.assertEqual(step is None, found.in_progress is not None)


class ShortenedTests(SynchronousTestCase):
    def test_one_a_line(self) -> None:
        """Files are listed one a line."""
        self.assertEqual(shortened(["a", "b c"]), "  a\n  b c")

    def test_a_long_list_is_cut(self) -> None:
        """Beyond the limit, the number of the others is told."""
        files = [f"file{number}" for number in range(53)]
        lines = shortened(files).split("\n")
        self.assertEqual(len(lines), 51)
        self.assertEqual((lines[49], lines[50]), ("  file49", "  and 3 more"))
        self.assertEqual(len(shortened(files[:50]).split("\n")), 50)

    def test_odd_names(self) -> None:
        """A name stays on its line, and bytes that are no text are told as such."""
        self.assertEqual(
            shortened(["a\nb\x1b", "caf\udce9", "né 日"]), "  a\\nb\\x1b\n  caf\\xe9\n  né 日"
        )
        self.assertEqual(named(["a\nb", *"cdefg"]), "a\\nb, c, d, e, f …")


class WaysOut(SynchronousTestCase):
    def test_files_in_the_way(self) -> None:
        """What is edited is named as a shell takes it, and what git does not track is told of."""
        said = "\n".join(out_of_the_way("/srv/my site", ["it's", "b"], ["c"]))
        self.assertIn("""git -C '/srv/my site' checkout HEAD -- 'it'"'"'s' b""", said)
        self.assertIn("What git does not track", said)
        self.assertNotIn("git -C", "\n".join(out_of_the_way("/srv", [], ["c"])))

    def test_many_files(self) -> None:
        """Where they are many, or their names are no text, there is a word for them."""
        for files in ([str(n) for n in range(6)], ["a\nb"], ["\udcff"]):
            said = "\n".join(out_of_the_way("/srv", files, []))
            self.assertIn("checkout HEAD -- FILES\n", said)
