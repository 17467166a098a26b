"""The git matrix: what a deploy meets in the upstream repository and at the location, by update mode.

Each row of `CASES`, with each mode, is a test of its own: a whole deploy by
the `Deployer`, with real git. After every one it is checked that nothing of
the user's was lost, that nothing is half done, and that a refused deploy has
left the location byte for byte as it was.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any, cast

from attrs import define, field, frozen
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from integralgit.deploy.bring import LOCK_RETRY
from integralgit.deploy.configs import Configs, Looks
from integralgit.deploy.deployer import Deployer
from integralgit.deploy.lanes import Worker
from integralgit.deploy.turn import Turn, take
from integralgit.journal import deploys, repositories, steps
from integralgit.journal.events import Deploy, State
from integralgit.journal.logs import Logs
from integralgit.journal.store import Transaction
from integralgit.location import leftovers, unfinished
from integralgit.location.disks import Disks, in_own_thread
from integralgit.location.git import Git, git_environment
from integralgit.location.mirror import Mirrors
from integralgit.location.visits import Visits
from integralgit.processes.child import Children, Exit
from integralgit.processes.spawn import spawner
from integralgit.report.health import prober
from integralgit.settings import Settings, Trust
from integralgit.testing import MemoryStore
from tests.archive import queued
from tests.integration.harness import Upstream, git, own_port

MODES = ("safe", "follow", "ff-only")
REPO = "github.com/acme/site"
RESCUE = "refs/integralgit/rescue/1"
#: Seconds that git has, which only what hangs needs.
GIT_TIMEOUT = 60.0
#: A user that owns nothing here.
NOBODY = 65534

#: Options for the tests' own git, which looks but is not looked at.
OWN = ("-c", "safe.directory=*", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false")

# What is wanted of a row in one mode.


@frozen
class Wanted:
    """How the deploy ends; `text` is in its reason, and `files` are kept under the rescue ref.

    `differs` are paths where what is there is not the new commit's, or not the user's, and neither harms.
    """

    how: str
    text: str = ""
    files: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join(filter(None, [self.how, self.text, *self.files]))


#: The location ends at the newest commit, on the branch; whatever was not in the way is there still.
moves = Wanted("moves")
#: The location ends at a merge of its own commits and the newest one.
merges = Wanted("merges")
#: The deploy succeeds, and the location is byte for byte as it was.
stays = Wanted("stays")


def keeps(path: str) -> Wanted:
    """As `moves`; what stands at that path stays, and is not what the commit has there."""
    return Wanted("moves", differs=(path,))


def brings_back(path: str) -> Wanted:
    """As `moves`; a tracked file that the user has removed is there again, as after a pull."""
    return Wanted("moves", differs=(path,))


def refused(text: str) -> Wanted:
    """The deploy fails with that in its reason, and the location is byte for byte as it was."""
    return Wanted("refused", text)


def skipped(text: str) -> Wanted:
    """The deploy is skipped with that reason, and the location is byte for byte as it was."""
    return Wanted("skipped", text)


def rescued(*files: str) -> Wanted:
    """As `moves`; these files, and commits that were only here, are under the rescue ref."""
    return Wanted("rescued", "", files)


# The scene.

FIRST = {
    "a.txt": "one\n",
    "b.txt": "one\n",
    "gone.txt": "one\n",
    "lib/c.txt": "one\n",
    ".gitignore": "*.env\n*.log\n",
}
#: Changes a file, removes one, makes one, one in a new folder, and one that is ignored.
SECOND = {
    "a.txt": "two\n",
    "gone.txt": None,
    "new.txt": "two\n",
    "folder/x.txt": "two\n",
    "site.env": "two\n",
}


@frozen
class Template:
    """A git host's bare repository and a location at its commit `one`, to be copied.

    `commits` by name: `root`, `one` upon it; upon `one` there are `two`, then
    `three`, and `dev`; `rewritten` is upon `root`, and `unrelated` upon nothing.
    """

    folder: Path
    commits: Mapping[str, str]


@functools.cache
def template(object_format: str) -> Template:
    """The template of that kind, made once in a run."""
    folder = Path(f"matrix-{object_format}-{os.getpid()}-{time.monotonic_ns()}").absolute()
    folder.mkdir()
    upstream = Upstream(folder / "host", object_format)
    commits = {
        "root": upstream.commit({"b.txt": "root\n"}),
        "one": upstream.commit(FIRST),
    }
    www = folder / "www"
    git(folder, "clone", "--quiet", "--template=", str(upstream.bare), str(www))
    commits["two"] = upstream.commit(SECOND)
    commits["three"] = upstream.commit({"a.txt": "three\n"})
    for name, start, files in (
        ("dev", "one", {"a.txt": "dev\n", "dev.txt": "dev\n"}),
        ("rewritten", "root", {"other.txt": "other\n"}),
        ("conflicting", "root", {"a.txt": "other\n"}),
    ):
        git(upstream.work, "checkout", "--quiet", "-b", name, commits[start])
        commits[name] = upstream.commit(files, branch=name)
    git(upstream.work, "checkout", "--quiet", "--orphan", "unrelated")
    commits["unrelated"] = upstream.commit({"fresh.txt": "x\n"}, branch="unrelated")
    git(upstream.bare, "gc", "--quiet")
    # Only `main` is a branch there; the others are commits that are yet to be pushed.
    kept = upstream.bare / "packed-refs"
    kept.write_text(kept.read_text().replace("refs/heads/", "refs/yet/"))
    shutil.rmtree(upstream.bare / "hooks")
    return Template(folder, commits)


@define
class Scene:
    """One case's copy of the template, and a server that deploys to the location."""

    folder: Path
    mode: str
    commits: Mapping[str, str]
    www: Path = field(init=False)
    bare: Path = field(init=False)
    #: The server's home, a folder beside the location, and what hostile code would make.
    home: Path = field(init=False)
    outside: Path = field(init=False)
    marker: Path = field(init=False)
    #: The location of the config, and where the server fetches from.
    location: str = field(init=False)
    url: str = field(init=False)
    #: The branch of the config, that of the push, and the commit that its delivery has named.
    branch: str = "main"
    pushed: str = "main"
    wanted: str | None = None
    #: The branch of the config that the server knew, if not that of the newest.
    known: str | None = None
    remote: str = "origin"
    timeout: float = GIT_TIMEOUT
    #: Is called in each pause of the deploy.
    meanwhile: Callable[[], object] = field(default=lambda: None)
    undo: list[Callable[[], object]] = field(factory=list)
    memory: MemoryStore = field(factory=MemoryStore, init=False)
    log: str = field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self.www, self.bare = self.folder / "www", self.folder / "host" / "acme" / "site.git"
        self.home, self.outside = self.folder / "home", self.folder / "outside"
        self.marker = self.folder / "ran"
        self.location, self.url = str(self.www), str(self.bare)

    # Upstream.

    def push(self, name: str, branch: str = "main") -> str:
        """Put the branch of the git host on a commit of the template."""
        (self.bare / "refs" / "heads" / branch).write_text(self.commits[name] + "\n")
        return self.commits[name]

    def tip(self) -> str:
        """The commit of the branch at the git host."""
        return git(self.bare, "rev-parse", f"refs/heads/{self.branch}")

    def upstream(self, files: Mapping[str, str | None]) -> str:
        """Push a commit of these files upon `one`; text that begins with `160000 ` is a gitlink."""
        lines = [
            "commit refs/heads/main",
            "committer Ann <ann@example.com> 1700000000 +0000",
            "data 6\nChange",
            f"from {self.commits['one']}",
        ]
        for name, text in files.items():
            if text is None:
                lines.append(f"D {name}")
            elif text.startswith("160000 "):
                lines.append(f"M {text} {name}")
            else:
                size = len(os.fsencode(text))
                lines.append(f"M 100644 inline {name}\ndata {size}\n{text}")
        return self._import(lines)

    def _import(self, lines: list[str]) -> str:
        git(self.bare, "fast-import", "--quiet", "--force", said="\n".join(lines) + "\n")
        return git(self.bare, "rev-parse", lines[0].split()[1])

    def config(self) -> str:
        """Push the config; what the server is to know of it, as text."""
        base = {
            "location": self.location,
            "branch": self.branch,
            "update": self.mode,
            "remote": self.remote,
        }
        text = json.dumps({"configs": {"base": base}})
        self._import(
            [
                "commit refs/heads/integralgit",
                "committer Ann <ann@example.com> 1700000000 +0000",
                "data 6\nConfig",
                f"M 100644 inline config\ndata {len(text)}\n{text}",
            ]
        )
        base["branch"] = self.known or self.branch
        return json.dumps({"configs": {"base": base}})

    # The location.

    def write(self, name: str, text: str = "mine\n") -> None:
        """Write a file of the user's at the location."""
        path = self.www / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def git(self, *arguments: str) -> str:
        """What git prints at the location, whoever owns it."""
        return git(self.www, *OWN, *arguments)

    def commit(self, files: Mapping[str, str], message: str = "Local") -> str:
        """A local commit of these files on top of HEAD."""
        for name, text in files.items():
            self.write(name, text)
        self.git("add", "--force", "--", *files)
        self.git("commit", "--quiet", "-m", message)
        return self.git("rev-parse", "HEAD")

    def is_checkout(self) -> bool:
        """Whether the location has a git folder that can be one."""
        return (self.www / ".git" / "HEAD").exists() or (self.www / ".git").is_file()

    # The deploy.

    async def deploy(self) -> Deploy:
        """Run one deploy to its end, as the server does."""
        text = self.config()
        if self.url.startswith("http:"):
            git(self.bare, "update-server-info")
        state = self.folder / "state"
        for name in ("logs", "mirrors"):
            (state / name).mkdir(parents=True)
        trusts = (Trust((), ("github.com/acme/*",), url=self.url),)
        settings = Settings(state=str(state), trusts=trusts)
        server = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        children = Watched(reactor, spawner(reactor))
        runner = Git(children, git_environment(server), self.timeout).with_environment(
            GIT_CONFIG_NOSYSTEM="1",
            # The tests themselves may lie in a checkout of this project.
            GIT_CEILING_DIRECTORIES=str(self.folder.parent),
        )
        store, logs = self.memory.store, Logs(state / "logs")
        configs = Configs(store, ("web1",), lambda: 1.0)
        looks = Looks(configs, Mirrors(state / "mirrors", runner, deferToThread), settings)
        deployer = Deployer(
            Hurried(self),
            settings,
            configs,
            looks,
            store,
            logs,
            Visits(settings, runner, Disks(reactor, in_own_thread(reactor))),
            children,
            server,
            deferToThread,
            lambda: 1.0,
            lambda deploy: "",
            prober(None),
        )

        def queue(tx: Transaction) -> Deploy:
            repositories.hear_of(tx, REPO, "github", 0.0)
            repositories.set_config(tx, REPO, "0" * 40, text, None, 0.0)
            return queued(
                tx, repo=REPO, branch=self.pushed, location=self.location, wanted=self.wanted
            )

        deploy = await store.write(queue)
        turn = await store.write(lambda tx: take(tx, self.location, 0.0))
        assert isinstance(turn, Turn)
        gave_way: list[Deferred[Deploy]] = []

        def give_way() -> None:
            gave_way.append(store.read(lambda tx: deploys.known(tx, deploy.id)))

        await deployer.deploy(turn, Worker(give_way))
        self.log = logs.read(deploy.id, 0, logs.size(deploy.id)).decode("utf-8", "replace")
        ended = await store.read(lambda tx: deploys.known(tx, deploy.id))
        # Another may begin before the end of one that has come to something is recorded.
        then = [(await one).state for one in gave_way]
        begun = await store.read(lambda tx: steps.of_deploy(tx, deploy.id))
        assert then == ([State.RUNNING] if begun else []), then
        return ended


@define
class Watched(Children):
    """Children that see to it that whoever is given a lock is given the location's."""

    async def run(self, argv: Sequence[str], *arguments: Any, **named: Any) -> Exit:
        for descriptor in (named.get("descriptors") or {}).values():
            location = Path(argv[argv.index("-C") + 1])
            assert os.path.samestat(os.fstat(descriptor), location.stat()), argv
        return await super().run(argv, *arguments, **named)


@define
class Hurried:
    """The reactor for a deployer that need not wait: a pause is over once `meanwhile` was called."""

    scene: Scene

    def callLater(self, delay: float, what: Callable[..., object], *arguments: object) -> Any:
        """The call comes in the next turn of the reactor, but where it is no pause of the deploy."""
        if delay < LOCK_RETRY:
            return cast(Any, reactor).callLater(delay, what, *arguments)

        def call() -> None:
            self.scene.meanwhile()
            what(*arguments)

        return cast(Any, reactor).callLater(0, call)


# What was there before, and is there after.


@frozen
class Look:
    """What there is: every file, all of git's own, what is the user's, and commits.

    `users` are the files that are not as the commit of HEAD has them, None for
    one that was removed, and `edited` those of them that git tracks. `local`
    are the commits that the remote has not.
    """

    files: Mapping[str, bytes]
    outside: Mapping[str, bytes]
    git: Mapping[str, bytes] = field(factory=dict)
    users: Mapping[str, bytes | None] = field(factory=dict)
    edited: frozenset[str] = frozenset()
    head: str = ""
    local: tuple[str, ...] = ()
    #: The ids of files as they are staged.
    staged: frozenset[str] = frozenset()


def everything(folder: Path, without: tuple[str, ...] = ()) -> dict[str, bytes]:
    """What is below a folder by path: x bit and content, the target of a link, or that it is a folder."""
    found: dict[str, bytes] = {}
    for parent, folders, files in os.walk(folder):
        at = os.path.relpath(parent, folder)
        for name in [*folders, *files]:
            full, path = os.path.join(parent, name), os.path.normpath(f"{at}/{name}")
            if path in without:
                if name in folders:
                    folders.remove(name)
            elif os.path.islink(full):
                found[path] = b"link " + os.fsencode(os.readlink(full))
            elif os.path.isdir(full):
                found[path] = b"fold "
            else:
                kind = b"exec " if os.stat(full).st_mode & 0o100 else b"file "
                found[path] = kind + Path(full).read_bytes()
    return found


#: What a fetch may change in a git folder, and what we write there.
FETCHED = (
    *("objects", "refs/remotes", "logs/refs/remotes", "shallow", "packed-refs"),
    *(leftovers.NOTE, unfinished.NOTE),
)
#: What git keeps while something is in progress.
IN_PROGRESS = {
    "MERGE_HEAD",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "BISECT_LOG",
    "rebase-merge",
    "rebase-apply",
}


def look(scene: Scene) -> Look:
    """What there is now; it changes nothing."""
    files = everything(scene.www, without=(".git",))
    outside = everything(scene.outside, without=("www",))
    outside["www"] = b"link" if scene.www.is_symlink() else b""
    own = everything(scene.www / ".git", FETCHED)
    own = {path: content for path, content in own.items() if content != b"fold "}
    if not scene.is_checkout():
        return Look(files, outside, own, {p: c for p, c in files.items() if c != b"fold "})
    status = ("status", "--porcelain=v2", "--branch", "-z", "-uall", "--ignored", "--no-renames")
    entries = scene.git("--no-optional-locks", *status).split("\0")
    changed = [entry.split(" ", 8) for entry in entries if entry.startswith("1 ")]
    unmerged = [entry.split(" ", 10) for entry in entries if entry.startswith("u ")]
    edited = frozenset(parts[-1] for parts in (*changed, *unmerged))
    staged = frozenset(parts[7] for parts in changed if parts[1][0] in "AM")
    others = [entry[2:] for entry in entries if entry[:2] in ("? ", "! ")]
    users = {path: files.get(path) for path in (*edited, *others) if not path.endswith("/")}
    head = entries[0].removeprefix("# branch.oid ")
    local: list[str] = []
    if head == "(initial)":
        head = ""
    else:
        local = scene.git("rev-list", "HEAD", "--branches", "--not", "--remotes").split()
    return Look(files, outside, own, users, edited, head, tuple(local), staged)


def blob(content: bytes, digits: int) -> str:
    """The id that git gives to a file's content, as `everything` has it."""
    kind = hashlib.sha256 if digits == 64 else hashlib.sha1
    return kind(b"blob %d\0%s" % (len(content) - 5, content[5:])).hexdigest()


# What the rows do before the deploy.

Prepare = Callable[[Scene], object]


def nothing(scene: Scene) -> None:
    """Leave the scene as it is."""


def write(*names: str) -> Prepare:
    """The user writes these files."""

    def prepare(scene: Scene) -> None:
        for name in names:
            scene.write(name)

    return prepare


def also(*steps: Prepare) -> Prepare:
    """One after the other."""

    def prepare(scene: Scene) -> None:
        for step in steps:
            step(scene)

    return prepare


def run(*arguments: str) -> Prepare:
    """The user runs git at the location."""
    return lambda scene: scene.git(*arguments)


def commit(*names: str) -> Prepare:
    """The user commits these files at the location."""
    return lambda scene: scene.commit(dict.fromkeys(names, "mine\n"))


def link(scene: Scene) -> None:
    """The location is a link to the checkout."""
    scene.www.rename(scene.folder / "real")
    scene.www.symlink_to("real")


def two_sides(scene: Scene) -> None:
    """The user has a branch `side`, and `main`, which conflict in `a.txt`."""
    scene.git("checkout", "--quiet", "-b", "side")
    scene.commit({"a.txt": "side\n"})
    scene.git("checkout", "--quiet", "main")
    scene.commit({"a.txt": "mine\n"})


def conflict(*arguments: str) -> Prepare:
    """The user has run git, and it waits for a conflict to be resolved."""

    def prepare(scene: Scene) -> None:
        two_sides(scene)
        try:
            scene.git(*arguments)
        except CalledProcessError:
            return
        raise AssertionError(f"no conflict: {arguments}")

    return prepare


def bisect(scene: Scene) -> None:
    """The user bisects, with a commit of his own on the branch."""
    scene.commit({"local.txt": "mine\n"})
    scene.git("bisect", "start", "HEAD", scene.commits["root"])


def stash(scene: Scene) -> None:
    """A stash that the user applies conflicts; git has nothing in progress then."""
    scene.write("a.txt", "stashed\n")
    scene.git("stash", "--quiet")
    scene.commit({"a.txt": "mine\n"})
    with contextlib.suppress(CalledProcessError):
        scene.git("stash", "pop", "--quiet")


def repository_at(folder: str, name: str) -> Prepare:
    """The user has another repository within the checkout, with a commit and a file he has not committed."""

    def prepare(scene: Scene) -> None:
        git(scene.folder, "init", "--quiet", "--template=", str(scene.www / folder))
        git(scene.www / folder, "commit", "--quiet", "--allow-empty", "-m", "Theirs")
        scene.write(f"{folder}/{name}")

    return prepare


def remove(name: str) -> Prepare:
    """The user removes a file."""
    return lambda scene: (scene.www / name).unlink()


def executable(name: str) -> Prepare:
    """The user makes a file executable."""
    return lambda scene: (scene.www / name).chmod(0o755)


def staged_twice(scene: Scene) -> None:
    """The user has staged an edit, and then gone on editing."""
    scene.write("a.txt", "staged\n")
    scene.git("add", "a.txt")
    scene.write("a.txt")


def hidden(option: str, name: str) -> Prepare:
    """The user has told git not to look at a file, and edits it."""
    return also(run("update-index", option, name), write(name))


def tracked_folder(made: Prepare) -> Prepare:
    """The user has something else where a tracked folder was, in which a file is changed."""

    def prepare(scene: Scene) -> None:
        scene.upstream({"lib/c.txt": "two\n"})
        shutil.rmtree(scene.www / "lib")
        made(scene)

    return prepare


def link_elsewhere(scene: Scene) -> None:
    """The user has a link to a folder of his own, with such a file in it."""
    (scene.outside / "lib").mkdir()
    (scene.outside / "lib" / "c.txt").write_text("mine\n")
    (scene.www / "lib").symlink_to(scene.outside / "lib")


def sparse(scene: Scene) -> None:
    """The user has only some of the files in the checkout."""
    scene.git("sparse-checkout", "set", "--no-cone", "/*", "!/b.txt", "!/folder")


def unborn(scene: Scene) -> None:
    """The location is a repository in which nothing was committed or fetched."""
    shutil.rmtree(scene.www)
    git(scene.folder, "init", "--quiet", "--template=", "--initial-branch=main", str(scene.www))
    scene.git("remote", "add", "origin", scene.url)


def lock_index(scene: Scene) -> None:
    """Another git works on the index."""
    (scene.www / ".git" / "index.lock").touch()


def empty_folder(scene: Scene) -> None:
    """There is an empty folder at the location."""
    new_location(scene)
    scene.www.mkdir()


def file_at(name: str) -> Prepare:
    """There is a file beside the location."""
    return lambda scene: (scene.folder / name).write_text("mine\n")


def broken_link(scene: Scene) -> None:
    """The location is a link that leads nowhere."""
    scene.www.symlink_to("nowhere")


def inside(scene: Scene) -> None:
    """The location lies inside another repository, and is empty."""
    at("outside", "www")(scene)
    git(scene.folder, "init", "--quiet", "--template=", str(scene.outside))
    (scene.outside / "theirs.txt").write_text("theirs\n")
    git(scene.outside, "add", ".")
    git(scene.outside, "commit", "--quiet", "-m", "Theirs")


def git_folder_elsewhere(scene: Scene) -> None:
    """The git folder of the checkout lies elsewhere."""
    folder = scene.folder / "elsewhere.git"
    (scene.www / ".git").rename(folder)
    (scene.www / ".git").write_text(f"gitdir: {folder}\n")


def damaged(scene: Scene) -> None:
    """A part of the git folder is lost."""
    (scene.www / ".git" / "HEAD").unlink()


def remote_of_config(name: str) -> Prepare:
    """The config names a remote that the checkout has not."""

    def prepare(scene: Scene) -> None:
        scene.remote = name

    return prepare


def new_location(scene: Scene) -> None:
    """There is nothing at the location."""
    shutil.rmtree(scene.www)


def at(*parts: str) -> Prepare:
    """The location is another one, at which there is nothing."""

    def prepare(scene: Scene) -> None:
        scene.www = scene.folder.joinpath(*parts)
        scene.location = str(scene.www)

    return prepare


def shallow(scene: Scene) -> None:
    """The location is a shallow clone, from before the newest push."""
    shutil.rmtree(scene.www)
    tip = scene.tip()
    scene.push("one")
    url = f"file://{scene.bare}"
    git(scene.folder, "clone", "--quiet", "--template=", "--depth=1", url, str(scene.www))
    scene.git("remote", "set-url", "origin", scene.url)
    (scene.bare / "refs" / "heads" / "main").write_text(f"{tip}\n")


def gone(branch: str) -> Prepare:
    """The git host has that branch no longer."""
    return lambda scene: (scene.bare / "refs" / "heads" / branch).unlink()


def tags(scene: Scene) -> None:
    """A tag has the branch's name and another commit, there and here."""
    git(scene.bare, "tag", "main", scene.commits["root"])
    scene.git("tag", "main", scene.commits["root"])


def touch(scene: Scene) -> None:
    """The files are as they were, but git has to look: as after a restore or a `chown`."""
    for name in ("a.txt", "b.txt", "gone.txt"):
        os.utime(scene.www / name, (1, 1))


def switched(scene: Scene) -> None:
    """The config names another branch, which was pushed; the server has not heard of that."""
    scene.push("dev", "dev")
    scene.branch = scene.pushed = "dev"
    scene.known = "main"


def switched_away(scene: Scene) -> None:
    """The branch before the switch is pushed."""
    switched(scene)
    scene.pushed = "main"


def owned_by_another(scene: Scene) -> None:
    """Somebody else owns the checkout."""
    if os.geteuid() != 0:
        raise SkipTest("only root can give files away")
    for path in (scene.www, *scene.www.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def user_config(text: str) -> Prepare:
    """The server's user has that in `~/.gitconfig`; MARKER and WWW are the scene's paths."""

    def prepare(scene: Scene) -> None:
        filled = text.replace("MARKER", str(scene.marker)).replace("WWW", scene.location)
        (scene.home / ".gitconfig").write_text(filled)

    return prepare


def hooks(scene: Scene) -> None:
    """Somebody has put hooks into the checkout."""
    folder = scene.www / ".git" / "hooks"
    folder.mkdir()
    for name in HOOKS:
        (folder / name).write_text(f"#!/bin/sh\ntouch '{scene.marker}'\n")
        (folder / name).chmod(0o755)


def fsmonitor(scene: Scene) -> None:
    """Somebody has set a file system monitor in the checkout."""
    hooks(scene)
    scene.git("config", "core.fsmonitor", str(scene.www / ".git" / "hooks" / "post-checkout"))
    scene.marker.unlink(missing_ok=True)


def submodule(scene: Scene) -> None:
    """The new commit has a submodule."""
    gitlink = f"160000 {scene.commits['root']}"
    modules = f'[submodule "mod"]\n\tpath = mod\n\turl = {scene.bare}\n'
    scene.upstream({"a.txt": "two\n", ".gitmodules": modules, "mod": gitlink})


def submodule_file(scene: Scene) -> None:
    """The user has a file where the new commit has a submodule."""
    submodule(scene)
    scene.write("mod")


def lfs(scene: Scene) -> None:
    """The new commit has a pointer of LFS, whose filter the server's user has."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
    attributes = "*.bin filter=lfs diff=lfs merge=lfs -text\n"
    scene.upstream({"a.txt": "two\n", ".gitattributes": attributes, "big.bin": pointer})
    fetches = f"test \"$GIT_LFS_SKIP_SMUDGE\" = 1 || touch '{scene.marker}'; cat"
    script = scene.folder / "git-lfs-smudge"
    script.write_text(f"#!/bin/sh\n{fetches}\n")
    script.chmod(0o755)
    text = f'[filter "lfs"]\n\tsmudge = {script}\n\tclean = cat\n\trequired = true\n'
    (scene.home / ".gitconfig").write_text(text)


def odd_name(name: str) -> Prepare:
    """The user has a file of an odd name where the new commit has one."""

    def prepare(scene: Scene) -> None:
        quoted = '"' + name.replace("\n", "\\n") + '"'
        scene.upstream({"a.txt": "two\n", quoted: "two\n"})
        scene.write(name)

    return prepare


def late(scene: Scene) -> None:
    """The delivery's commit is there only when the server looks again."""
    scene.wanted = scene.commits["two"]
    scene.meanwhile = lambda: scene.push("two")


def delivery(name: str) -> Prepare:
    """The delivery names that commit of the template."""

    def prepare(scene: Scene) -> None:
        scene.wanted = scene.commits[name]

    return prepare


# Git hosts that are not as they should be.


def fetch_from(scene: Scene, url: str) -> None:
    """The trust and the checkout's remote have that URL."""
    scene.url = url
    scene.git("remote", "set-url", "origin", url)


def serve(scene: Scene, handler: type[http.server.SimpleHTTPRequestHandler]) -> None:
    """Serve the git host's folder over HTTP until the end of the test."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(scene.folder / "host"))
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    scene.undo += [server.shutdown, thread.join, server.server_close]
    fetch_from(scene, f"http://127.0.0.1:{server.server_port}/acme/site.git")


class Plain(http.server.SimpleHTTPRequestHandler):
    """Files, as git's "dumb" protocol wants them (gitprotocol-http(5)), and no word on stderr."""

    def log_message(self, *args: object) -> None:
        pass


class Renamed(Plain):
    """A git host that leads from a repository's old name to its new one."""

    def do_GET(self) -> None:
        if not self.path.startswith("/acme/site.git"):
            super().do_GET()
            return
        self.send_response(301)
        self.send_header("Location", self.path.replace("site.git", "renamed.git", 1))
        self.send_header("Content-Length", "0")
        self.end_headers()


class Locked(Plain):
    """A git host that wants a password."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        self.end_headers()


def renamed_upstream(scene: Scene) -> None:
    """The repository has another name at the git host, which redirects."""
    new = scene.bare.with_name("renamed.git")
    scene.bare.rename(new)
    scene.bare = new
    serve(scene, Renamed)


def unreachable(scene: Scene) -> None:
    """Nobody listens at the git host."""
    fetch_from(scene, f"http://127.0.0.1:{own_port()}/acme/site.git")


def hanging(scene: Scene) -> None:
    """The git host takes connections and never says a word."""
    deaf = socket.create_server(("127.0.0.1", 0))
    scene.undo.append(deaf.close)
    scene.timeout = 0.5
    fetch_from(scene, f"http://127.0.0.1:{deaf.getsockname()[1]}/acme/site.git")


def locked(scene: Scene) -> None:
    """The git host asks for a password."""
    serve(scene, Locked)


def remote_gone(scene: Scene) -> None:
    """The git host has no such repository."""
    fetch_from(scene, str(scene.bare.with_name("nowhere.git")))


# The table.


@frozen
class Case:
    """A row: what is prepared while upstream goes on to `tip`, and what is wanted in each mode."""

    name: str
    prepare: Prepare
    safe: Wanted
    follow: Wanted
    ff_only: Wanted
    tip: str = "two"
    #: What the deploy's log has in any case.
    says: str = ""
    object_format: str = "sha1"

    def wanted(self, mode: str) -> Wanted:
        """What is wanted in that mode."""
        return {"safe": self.safe, "follow": self.follow, "ff-only": self.ff_only}[mode]


def blocked(*files: str) -> Wanted:
    """Refused, for these files are in the way, and are named."""
    return refused(f"nothing was changed, for the update would overwrite files: {', '.join(files)}")


def ahead(count: int = 1) -> Wanted:
    """Refused, for it is no fast-forward."""
    commits = "1 commit" if count == 1 else f"{count} commits"
    return refused(f"not a fast-forward: the local branch main has {commits}")


def conflicts(*files: str) -> Wanted:
    """Refused, for a merge would conflict in these files."""
    return refused(f"local commits conflict with the new ones in: {', '.join(files)}")


def busy(what: str) -> Wanted:
    """Refused, for the user has something in progress."""
    return refused(f"a {what} is in progress in the checkout; end or abort it there")


HOOKS = (
    "post-checkout",
    "post-merge",
    "post-rewrite",
    "pre-commit",
    "pre-merge-commit",
    "prepare-commit-msg",
    "commit-msg",
    "post-commit",
    "post-index-change",
    "reference-transaction",
    "pre-auto-gc",
)
HOSTILE = """
[core]
	fsmonitor = touch MARKER
	editor = touch MARKER
	pager = touch MARKER
	askPass = touch MARKER
	excludesFile = WWW/.git/description
	ignoreStat = true
	quotePath = true
	abbrev = 4
[credential]
	helper = "!touch MARKER"
[diff]
	external = touch MARKER
	renames = copies
	noprefix = true
[status]
	short = true
	relativePaths = false
	showUntrackedFiles = all
	renames = copies
[color]
	ui = always
[column]
	ui = always
[commit]
	gpgSign = true
[gpg]
	program = touch MARKER
[user]
	useConfigOnly = true
[fetch]
	prune = true
	pruneTags = true
	recurseSubmodules = true
[submodule]
	recurse = true
[merge]
	ff = only
	verifySignatures = true
[log]
	showSignature = true
	showRoot = false
[format]
	pretty = oneline
[gc]
	auto = 1
[maintenance]
	auto = true
[safe]
	bareRepository = explicit
[alias]
	fetch = !touch MARKER
	status = !touch MARKER
"""
NO_REPOSITORY = "neither empty nor a git repository"
INSIDE = "lies inside another repository"
ANOTHER = "another repository than github.com/acme/site"
NOT_OURS = "what is in the way belongs to another repository"
NOT_HERE = "branch main is not deployed here (dev is)"
TOO_LONG = "it took too long and was stopped"
GONE = "there is no branch main in github.com/acme/site"

# fmt: off
CASES = (
    # what there is                        prepare                                      safe                follow               ff-only
    Case("fast-forward",                   nothing,                                     moves,              moves,               moves),
    Case("nothing new",                    nothing,                                     stays,              moves,               stays, tip="one"),

    Case("dirty file in the way",          write("a.txt"),                              blocked("a.txt"),   rescued("a.txt"),    blocked("a.txt")),
    Case("dirty file not in the way",      write("b.txt"),                              moves,              rescued("b.txt"),    moves),
    Case("dirty file, nothing new",        write("b.txt"),                              stays,              rescued("b.txt"),    stays, tip="one"),
    Case("dirty file that is to go",       write("gone.txt"),                           blocked("gone.txt"), rescued("gone.txt"), blocked("gone.txt")),
    Case("staged edit in the way",         also(write("a.txt"), run("add", ".")),       blocked("a.txt"),   rescued("a.txt"),    blocked("a.txt")),
    Case("staged edit, edited once more",  staged_twice,                                blocked("a.txt"),   rescued("a.txt"),    blocked("a.txt")),
    Case("staged new file in the way",     also(write("new.txt"), run("add", ".")),     blocked("new.txt"), rescued("new.txt"),  blocked("new.txt")),
    Case("staged new file not in the way", also(write("mine.txt"), run("add", ".")),    moves,              rescued("mine.txt"), moves),
    Case("removed file in the way",        remove("a.txt"),                             brings_back("a.txt"), moves,             brings_back("a.txt")),
    Case("removed file not in the way",    remove("b.txt"),                             moves,              moves,               moves),
    Case("mode changed in the way",        executable("a.txt"),                         blocked("a.txt"),   rescued("a.txt"),    blocked("a.txt")),
    Case("files touched but not changed",  touch,                                       moves,              moves,               moves),
    Case("assumed unchanged in the way",   hidden("--assume-unchanged", "a.txt"),       blocked("a.txt"),   rescued("a.txt"),    blocked("a.txt")),
    Case("skipped in the way",             hidden("--skip-worktree", "a.txt"),          blocked("a.txt"),   rescued("a.txt"),    blocked("a.txt")),
    Case("assumed unchanged, not in the way", hidden("--assume-unchanged", "b.txt"),    moves,              rescued("b.txt"),    moves),
    Case("assumed unchanged, and a dirty file", also(hidden("--assume-unchanged", "a.txt"), write("b.txt", "new.txt")), blocked("new.txt"), rescued("a.txt", "b.txt", "new.txt"), blocked("new.txt")),
    Case("sparse checkout",                sparse,                                      moves,              moves,               moves),
    Case("sparse, and an edit outside of it", also(sparse, write("b.txt")),             moves,              rescued("b.txt"),    moves),
    Case("sparse, and a file in the way",  also(sparse, write("folder/x.txt")),         blocked("folder/x.txt"), rescued("folder/x.txt"), blocked("folder/x.txt")),

    Case("untracked file in the way",      write("new.txt"),                            blocked("new.txt"), rescued("new.txt"),  blocked("new.txt")),
    Case("untracked file not in the way",  write("mine.txt", "folder/mine.txt"),        moves,              moves,               moves),
    Case("folder for a tracked file",      also(remove("a.txt"), write("a.txt/mine.txt")), blocked("a.txt"), rescued("a.txt/mine.txt"), blocked("a.txt")),
    Case("file for a tracked folder",      tracked_folder(write("lib")),                blocked("lib/c.txt"), rescued("lib"), blocked("lib/c.txt")),
    Case("link for a tracked folder",      tracked_folder(link_elsewhere),              blocked("lib/c.txt", "lib"), rescued("lib"), blocked("lib/c.txt", "lib")),
    Case("untracked file for a folder",    write("folder"),                             blocked("folder"),  rescued("folder"),   blocked("folder")),
    Case("untracked folder for a file",    write("new.txt/mine.txt"),                   blocked("new.txt/mine.txt"), rescued("new.txt/mine.txt"), blocked("new.txt/mine.txt")),
    Case("repository of the user's in the way", repository_at("folder", "x.txt"),       blocked("folder/x.txt"), refused(NOT_OURS), blocked("folder/x.txt")),
    Case("repository of the user's for a file", repository_at("new.txt", "x.txt"),      refused("new.txt/"), refused(NOT_OURS),  refused("new.txt/")),
    Case("repository not in the way",      repository_at("folder", "mine.txt"),         moves,              moves,               moves),
    Case("ignored file in the way",        write("site.env"),                           blocked("site.env"), rescued("site.env"), blocked("site.env")),
    Case("ignored file not in the way",    write("mine.env", "folder/mine.log"),        moves,              moves,               moves),
    Case("in the way with a line break",   odd_name("line\nbreak.txt"),                 refused("break.txt"), rescued("line\nbreak.txt"), refused("break.txt")),
    Case("in the way with a name no text", odd_name("caf\udce9.txt"),                   refused("caf"),     rescued("caf\udce9.txt"), refused("caf")),

    Case("local commits",                  commit("local.txt"),                         merges,             rescued(),           ahead()),
    Case("local commits, nothing new",     commit("local.txt"),                         stays,              rescued(),           ahead(), tip="one"),
    Case("local commits that conflict",    commit("a.txt"),                             conflicts("a.txt"), rescued(),           ahead()),
    Case("local commits and a dirty file", also(commit("local.txt"), write("b.txt")),   merges,             rescued("b.txt"),    ahead()),
    Case("local commits and one in the way", also(commit("local.txt"), write("a.txt")), blocked("a.txt"),   rescued("a.txt"),    ahead()),
    Case("commits on a branch of his own", also(run("checkout", "-qb", "own"), commit("local.txt")), moves, moves,               moves),
    Case("own branch and a file in the way", also(run("checkout", "-qb", "own"), write("a.txt")), blocked("a.txt"), rescued("a.txt"), blocked("a.txt")),

    Case("history rewritten",              nothing,                                     moves,              moves,               ahead(), tip="rewritten"),
    Case("rewritten, with local commits",  commit("local.txt"),                         merges,             rescued(),           ahead(2), tip="rewritten"),
    Case("rewritten, and they conflict",   commit("a.txt"),                             conflicts("a.txt"), rescued(),           ahead(2), tip="conflicting"),
    Case("rewritten, and a dirty file",    write("a.txt"),                              blocked("a.txt"),   rescued("a.txt"),    ahead(), tip="rewritten"),
    Case("gone back",                      nothing,                                     moves,              moves,               ahead(), tip="root"),
    Case("unrelated history",              nothing,                                     moves,              moves,               ahead(2), tip="unrelated"),
    Case("unrelated, with local commits",  commit("local.txt"),                         refused("could not be merged"), rescued(), ahead(3), tip="unrelated"),
    Case("branch deleted",                 gone("main"),                                refused(GONE),      refused(GONE),       refused(GONE)),
    Case("branch deleted, local commits",  also(gone("main"), commit("local.txt")),     refused(GONE),      refused(GONE),       refused(GONE)),
    Case("tag named like the branch",      tags,                                        moves,              moves,               moves),

    Case("detached HEAD",                  run("checkout", "-q", "--detach"),           moves,              moves,               moves),
    Case("detached HEAD elsewhere",        run("checkout", "-q", "HEAD~"),              moves,              moves,               moves),
    Case("detached HEAD with commits",     also(run("checkout", "-q", "--detach"), commit("local.txt")), refused("detached"), rescued(), refused("detached")),
    Case("detached HEAD and a dirty file", also(run("checkout", "-q", "--detach"), write("a.txt")), blocked("a.txt"), rescued("a.txt"), blocked("a.txt")),
    Case("no commit yet",                  unborn,                                      moves,              moves,               moves),
    Case("no commit yet, file in the way", also(unborn, write("a.txt")),                blocked("a.txt"),   rescued("a.txt"),    blocked("a.txt")),

    Case("merge in progress",              conflict("merge", "side"),                   busy("merge"),      rescued("a.txt"),    busy("merge")),
    Case("merge in progress, nothing new", conflict("merge", "side"),                   busy("merge"),      rescued("a.txt"),    busy("merge"), tip="one"),
    Case("rebase in progress",             conflict("rebase", "side"),                  busy("rebase"),     rescued("a.txt"),    busy("rebase")),
    Case("rebase --apply in progress",     conflict("rebase", "--apply", "side"),       busy("rebase"),     rescued("a.txt"),    busy("rebase")),
    Case("cherry-pick in progress",        conflict("cherry-pick", "side"),             busy("cherry-pick"), rescued("a.txt"),   busy("cherry-pick")),
    Case("revert in progress",             conflict("revert", "HEAD~"),                 busy("revert"),     rescued("a.txt"),    busy("revert")),
    Case("bisect in progress",             bisect,                                      busy("bisect"),     rescued(),           busy("bisect")),
    Case("stash that conflicts",           stash,                                       refused("a.txt"),   rescued("a.txt"),    ahead()),
    Case("index locked by another git",    lock_index,                                  refused("index.lock"), refused("index.lock"), refused("index.lock")),

    Case("shallow clone",                  shallow,                                     moves,              moves,               moves),
    Case("shallow, local commits",         also(shallow, commit("local.txt")),          merges,             rescued(),           ahead()),
    Case("shallow, history rewritten",     shallow,                                     moves,              moves,               ahead(), tip="rewritten"),

    Case("no location yet",                new_location,                                moves,              moves,               moves),
    Case("empty folder",                   empty_folder,                                moves,              moves,               moves),
    Case("missing parent",                 at("new", "er", "www"),                      moves,              moves,               moves),
    Case("parent that is a file",          also(at("file", "www"), file_at("file")),    refused("is a file"), refused("is a file"), refused("is a file")),
    Case("location that is a file",        also(at("file"), file_at("file")),           refused("is not a folder"), refused("is not a folder"), refused("is not a folder")),
    Case("symlink",                        link,                                        moves,              moves,               moves),
    Case("symlink, and a file in the way", also(link, write("a.txt")),                  blocked("a.txt"),   rescued("a.txt"),    blocked("a.txt")),
    Case("symlink to nothing",             also(new_location, broken_link),             refused("is a link to nothing"), refused("is a link to nothing"), refused("is a link to nothing")),
    Case("not a repository",               also(at("other"), write("mine.txt")),        refused(NO_REPOSITORY), refused(NO_REPOSITORY), refused(NO_REPOSITORY)),
    Case("inside another repository",      also(inside, write("mine.txt")),             refused(INSIDE),    refused(INSIDE),     refused(INSIDE)),
    Case("empty, inside another",          inside,                                      moves,              moves,               moves),
    Case("checkout of another repository", run("remote", "set-url", "origin", "https://github.com/acme/other.git"), refused(ANOTHER), refused(ANOTHER), refused(ANOTHER)),
    Case("git folder elsewhere",           git_folder_elsewhere,                        moves,              moves,               moves),
    Case("git folder damaged",             damaged,                                     refused("not a git repository"), refused("not a git repository"), refused("not a git repository")),
    Case("another owner",                  owned_by_another,                            refused("belongs to another user"), refused("belongs to another user"), refused("belongs to another user")),
    Case("another owner, made safe",       also(owned_by_another, user_config("[safe]\n\tdirectory = WWW\n")), moves, moves, moves),

    Case("remote renamed in the checkout", run("remote", "rename", "origin", "host"),   moves,              moves,               moves),
    Case("remote renamed in the config",   remote_of_config("host"),                    moves,              moves,               moves),
    Case("remote renamed at the git host", renamed_upstream,                            moves,              moves,               moves, says="redirecting to"),
    Case("remote unreachable",             unreachable,                                 refused("unable to access"), refused("unable to access"), refused("unable to access")),
    Case("remote gone",                    remote_gone,                                 refused("does not appear to be a git repository"), refused("does not appear to be a git repository"), refused("does not appear to be a git repository")),
    Case("remote hanging",                 hanging,                                     refused(TOO_LONG),  refused(TOO_LONG),   refused(TOO_LONG)),
    Case("remote asking for a password",   locked,                                      refused("Authentication failed"), refused("Authentication failed"), refused("Authentication failed")),

    Case("hooks",                          hooks,                                       moves,              moves,               moves),
    Case("hooks, and a merge",             also(commit("local.txt"), hooks),            merges,             rescued(),           ahead()),
    Case("fsmonitor",                      fsmonitor,                                   moves,              moves,               moves),
    Case("hostile user config",            user_config(HOSTILE),                        moves,              moves,               moves),
    Case("hostile config, local commits",  also(commit("local.txt"), user_config(HOSTILE)), merges,         rescued(),           ahead()),
    Case("hostile config, dirty file",     also(write("a.txt"), user_config(HOSTILE)),  blocked("a.txt"),   rescued("a.txt"),    blocked("a.txt")),
    Case("hostile config, untracked file", also(write("new.txt"), user_config(HOSTILE)), blocked("new.txt"), rescued("new.txt"), blocked("new.txt")),
    Case("hostile config, new location",   also(new_location, user_config(HOSTILE)),    moves,              moves,               moves),

    Case("submodule, off",                 submodule,                                   moves,              moves,               moves),
    Case("submodule where files are",      also(submodule, write("mod/mine.txt")),      moves,              rescued("mod/mine.txt"), moves),
    Case("submodule where a repository is", also(submodule, repository_at("mod", "mine.txt")), keeps("mod"),   refused(NOT_OURS),   keeps("mod")),
    Case("submodule where a file is",      submodule_file,                              blocked("mod"),     rescued("mod"),      blocked("mod")),
    Case("LFS, off",                       lfs,                                         moves,              moves,               moves),

    Case("sha256",                         nothing,                                     moves,              moves,               moves, object_format="sha256"),
    Case("sha256, new location",           new_location,                                moves,              moves,               moves, object_format="sha256"),
    Case("sha256, local commits",          commit("local.txt"),                         merges,             rescued(),           ahead(), object_format="sha256"),
    Case("sha256, file in the way",        write("new.txt"),                            blocked("new.txt"), rescued("new.txt"),  blocked("new.txt"), object_format="sha256"),

    Case("branch switched by the config",  switched,                                    moves,              moves,               moves),
    Case("switched, local commits",        also(switched, commit("local.txt")),         moves,              moves,               moves),
    Case("switched, dirty file in the way", also(switched, write("a.txt")),             blocked("a.txt"),   rescued("a.txt"),    blocked("a.txt")),
    Case("switched, untracked in the way", also(switched, write("dev.txt")),            blocked("dev.txt"), rescued("dev.txt"),  blocked("dev.txt")),
    Case("switched, the old one is pushed", switched_away,                              skipped(NOT_HERE),  skipped(NOT_HERE),   skipped(NOT_HERE)),

    Case("delivery before its commit",     late,                                        moves,              moves,               moves, tip="one", says="is not there yet; fetching again"),
    Case("delivery whose commit never comes", delivery("unrelated"),                    moves,              moves,               moves, says="not at the pushed commit"),
    Case("delivery older than the newest", delivery("two"),                             moves,              moves,               moves, tip="three", says="not at the pushed commit"),
    Case("older delivery comes last",      delivery("root"),                            stays,              moves,               stays, tip="one", says="not at the pushed commit"),
)
# fmt: on


class Matrix(TestCase):
    """Every row in every mode; the tests are made of `CASES`."""

    maxDiff = None

    def scene(self, case: Case, mode: str) -> Scene:
        """A scene of one's own, with upstream at the row's tip."""
        folder = Path(f"{self.id()}-{time.monotonic_ns()}").absolute()
        made = template(case.object_format)
        shutil.copytree(made.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("work"))
        scene = Scene(folder, mode, made.commits)
        for name in ("home", "outside"):
            (folder / name).mkdir()
        config = scene.www / ".git" / "config"
        config.write_text(config.read_text().replace(str(made.folder), str(folder)))
        scene.push(case.tip)
        return scene

    async def check(self, case: Case, mode: str) -> None:
        """One deploy, and all that is to hold after it."""
        scene, wanted = self.scene(case, mode), case.wanted(mode)
        try:
            case.prepare(scene)
            before = look(scene)
            deploy = await scene.deploy()
        finally:
            for undo in scene.undo:
                undo()
            await last_looks()
        after = look(scene)
        try:
            if wanted.how in ("moves", "merges", "rescued"):
                self.moved(scene, wanted, deploy, before, after)
            else:
                self.unchanged(wanted, deploy, before, after)
            self.nothing_lost(scene, before, after)
            self.nothing_left(scene, before, after)
            self.assertIn(case.says, scene.log)
        except self.failureException as error:
            story = f"{deploy.state.value}: {deploy.reason}\n{scene.log}"
            raise self.failureException(f"{error}\n\n{story}") from None

    def moved(
        self, scene: Scene, wanted: Wanted, deploy: Deploy, before: Look, after: Look
    ) -> None:
        """The location is where it is to be, and has of the user's what it is to have."""
        self.assertEqual((deploy.state, deploy.reason), (State.SUCCEEDED, None))
        tip, branch = scene.tip(), scene.branch
        self.assertEqual((deploy.commit, deploy.head), (tip, after.head))
        self.assertEqual(scene.git("symbolic-ref", "HEAD"), f"refs/heads/{branch}")
        if wanted is merges:
            parents = scene.git("rev-list", "--parents", "-1", "HEAD").split()[1:]
            self.assertEqual(parents, [before.head, tip])
        else:
            self.assertEqual(after.head, tip)
        self.assertLessEqual(
            after.edited, before.edited | {*wanted.differs}, "nothing else differs from the commit"
        )
        follows = scene.mode == "follow"
        if follows:
            self.assertEqual(after.edited, frozenset())
        for name, content in before.users.items():
            if name not in (*wanted.files, *wanted.differs) and not (
                follows and name in before.edited
            ):
                self.assertEqual(after.files.get(name), content, name)
        rescues = scene.git("for-each-ref", "--format=%(refname)", "refs/integralgit")
        self.assertEqual(rescues, RESCUE if wanted.how == "rescued" else "")
        for name in wanted.files:
            kept = scene.git("cat-file", "blob", f"{RESCUE}:{name}")
            self.assertEqual(os.fsencode(kept), before.files[name][5:].strip(), name)
        if rescues:
            self.assertIn(f"git cat-file blob {RESCUE}:FILE > FILE", scene.log)
        self.assertEqual(IN_PROGRESS & {path.split("/")[0] for path in after.git}, set())

    def unchanged(self, wanted: Wanted, deploy: Deploy, before: Look, after: Look) -> None:
        """The location is as it was, byte for byte, and a person can read why."""
        states = {"stays": State.SUCCEEDED, "refused": State.FAILED, "skipped": State.SKIPPED}
        self.assertEqual(deploy.state, states[wanted.how])
        self.assertEqual((after.files, after.git), (before.files, before.git))
        reason = deploy.reason or ""
        self.assertIn(wanted.text, reason)
        self.assertNotRegex(reason, r"\n|fatal:|Traceback|incident|Error\b")
        self.assertEqual(reason == "", wanted is stays)

    def nothing_lost(self, scene: Scene, before: Look, after: Look) -> None:
        """What was there is where it was, or to be had from a ref; so is every local commit."""
        digits = len(scene.commits["one"])
        there = {path: blob(content, digits) for path, content in after.files.items()}
        had = {path: blob(c, digits) for path, c in before.files.items() if c != b"fold "}
        missing = {one for path, one in had.items() if there.get(path) != one} | before.staged
        if missing:
            fetched = scene.commits["one"]
            listed = scene.git("rev-list", "--objects", "--all", fetched).splitlines()
            kept = {line.split(" ", 1)[0] for line in listed}
            kept.update(after.staged)
            lost = missing - kept
            self.assertEqual([path for path, one in had.items() if one in lost], [])
            self.assertEqual(lost, set(), "what was staged is kept")
        if before.local:
            refs = ("--branches", "--glob=refs/integralgit", "--glob=refs/stash", "HEAD")
            lost_commits = scene.git("rev-list", *before.local, "--not", *refs)
            self.assertEqual(lost_commits, "", "local commits are kept")

    def nothing_left(self, scene: Scene, before: Look, after: Look) -> None:
        """Nobody's code has run, no process and no note of ours remain, and nothing else was touched."""
        self.assertFalse(scene.marker.exists(), "hostile code has run")
        self.assertEqual(after.outside, before.outside)
        new = set(after.git) - set(before.git)
        ours = [path for path in new if path.startswith("integralgit") or path.endswith(".lock")]
        self.assertEqual(ours, [])
        for name in (unfinished.NOTE, unfinished.DONE):
            note = scene.www / ".git" / name
            self.assertFalse(os.path.lexists(note), "the note of the update is gone")
        self.assertFalse((scene.www / ".git" / "modules").exists(), "a submodule was fetched")
        self.assertEqual(processes_about(scene.folder), [])


async def last_looks() -> None:
    """Let the last look at a process group that was ended, 10 s later, come now."""
    for call in cast(Any, reactor).getDelayedCalls():
        if getattr(call.func, "__name__", "") == "_kill":
            call.reset(0)
    await deferLater(cast(Any, reactor), 0, lambda: None)


def processes_about(folder: Path) -> list[str]:
    """The commands of living processes that name a folder."""
    found = []
    # Not by a pattern: that would look at a process that ends just then, and fail.
    for one in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            said = Path("/proc", one, "cmdline").read_bytes()
            command = said.replace(b"\0", b" ").decode("utf-8", "replace")
            if str(folder) in command:
                found.append(command)
    return found


#: The threats that rows are about; see `tests.test_threats`.
THREATS = {
    "hooks": 31,
    "fsmonitor": 31,
    "hostile user config": 33,
    "another owner": 34,
    "inside another repository": 35,
    "tag named like the branch": 37,
    "branch deleted": 38,
    "history rewritten": 39,
    "local commits": 39,
    "dirty file in the way": 40,
    "untracked file in the way": 40,
    "ignored file in the way": 40,
    "merge in progress": 41,
    "bisect in progress": 41,
    "detached HEAD": 41,
    "index locked by another git": 42,
    "remote asking for a password": 44,
    "remote hanging": 45,
    "shallow clone": 47,
    "remote renamed at the git host": 50,
    "sha256": 51,
    "not a repository": 54,
    "checkout of another repository": 56,
}


def _add(case: Case, mode: str) -> None:
    async def test(self: Matrix) -> None:
        await self.check(case, mode)

    words = re.sub(r"\W+", "_", f"{case.name} {mode}".lower())
    test.__name__ = f"test_{words}"
    test.__qualname__ = f"Matrix.{test.__name__}"
    threat = f" (threat {THREATS[case.name]})" if case.name in THREATS else ""
    test.__doc__ = f"{case.name}, {mode}: {case.wanted(mode)}{threat}."
    assert not hasattr(Matrix, test.__name__), f"two rows of one name: {case.name}"
    setattr(Matrix, test.__name__, test)


for _case in CASES:
    for _mode in MODES:
        _add(_case, _mode)
