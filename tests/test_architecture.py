"""The rooms of the package, and the one direction in which they may import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import integralgit

PACKAGE = Path(integralgit.__file__).parent

#: Every room with its rank; a room imports from lower ranks and from itself only.
ROOMS = {
    "integralgit.tap": 6,
    "integralgit.assembly": 6,
    "integralgit.service": 6,
    "integralgit.demo": 6,
    "integralgit.hook": 6,
    "integralgit.statefiles": 6,
    "integralgit.web": 5,
    "integralgit.report": 5,
    "integralgit.testing": 4.5,
    "integralgit.deploy": 4,
    "integralgit.journal": 3,
    "integralgit.location": 2.5,
    "integralgit.hooks": 2,
    "integralgit.hostconfig": 2,
    "integralgit.settings": 1,
    "integralgit.receivers": 0.5,
    "integralgit.processes": 0.5,
    "integralgit.values": 0,
    "integralgit.names": 0,
    "integralgit.quantities": 0,
    "integralgit": -1,
}

#: Rooms that are one house: what wires, and what it wires with.
TOGETHER = frozenset(room for room, rank in ROOMS.items() if rank == 6)

#: Neither above nor below: for everybody but the pure.
BACKGROUND = "integralgit.background"

#: What knows no Twisted: rooms as a whole, and single modules.
PURE = (
    "integralgit.hooks",
    "integralgit.hostconfig",
    "integralgit.settings",
    "integralgit.receivers",
    "integralgit.values",
    "integralgit.names",
    "integralgit.quantities",
    "integralgit.deploy.decide",
    "integralgit.location.plan",
    "integralgit.location.source",
    "integralgit.journal.events",
    "integralgit.report.answers",
    "integralgit.report.bitbucket",
    "integralgit.report.bitbucket_server",
    "integralgit.report.gitea",
    "integralgit.report.github",
    "integralgit.report.gitlab",
    "integralgit.report.statuses",
    "integralgit.report.words",
    "integralgit.web.pages",
    "integralgit.web.addresses",
)

REACTOR = "twisted.internet.reactor"


def module_name(path: Path) -> str:
    """The dotted name of a module of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its name, parsed."""
    return {
        module_name(path): ast.parse(path.read_text("utf-8"), str(path))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imports(tree: ast.Module) -> Iterator[str]:
    """Whatever a module imports, anywhere in it, as full dotted names.

    `from a import b` gives `a.b`, for `b` may be a module; a relative import
    gives a name that begins with a dot.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            yield from (f"{source}.{alias.name}" for alias in node.names)


def is_within(name: str, room: str) -> bool:
    """Whether the dotted name is that module or package, or something in it."""
    return name == room or name.startswith(room + ".")


def room_of(name: str) -> str | None:
    """The room that a name of the package is in; None for a name that is in none."""
    if is_within(name, BACKGROUND):
        return BACKGROUND
    found = [room for room in ROOMS if room != "integralgit" and is_within(name, room)]
    if found:
        return found[0]
    own = name.partition(".")[2]
    return "integralgit" if not own or own.startswith("__") else None


def is_pure(module: str) -> bool:
    """Whether the module must not know Twisted."""
    return any(is_within(module, pure) for pure in PURE)


def complaint(module: str, imported: str) -> str | None:
    """Why that module may not import that name, or None where it may."""
    if imported.startswith("."):
        return f"{module} has the relative import {imported}"
    if is_within(imported, REACTOR) and module != "integralgit.tap":
        return f"{module} imports the reactor"
    if is_pure(module) and any(is_within(imported, one) for one in ("twisted", "klein", "treq")):
        return f"{module} is pure and imports {imported}"
    if not is_within(imported, "integralgit"):
        return None
    here, there = room_of(module), room_of(imported)
    if here is None or there is None:
        return f"{module} or {imported} is in no room that this test knows"
    if there == BACKGROUND:
        return f"{module} is pure and imports {imported}" if is_pure(module) else None
    if here == BACKGROUND:
        return f"{module} is for everybody and imports {imported}"
    if here == there or {here, there} <= TOGETHER or ROOMS[there] < ROOMS[here]:
        return None
    return f"{module} imports {imported}, against the direction of the rooms"


class PackageTests(SynchronousTestCase):
    def test_direction(self) -> None:
        """No module imports what its room may not."""
        complaints = [
            problem
            for module, tree in modules().items()
            for imported in imports(tree)
            if (problem := complaint(module, imported))
        ]
        self.assertEqual(complaints, [])

    def test_every_module_has_a_room(self) -> None:
        """Every module is in a room, and every room is there."""
        found = {module: room_of(module) for module in modules()}
        self.assertEqual([module for module, room in found.items() if room is None], [])
        self.assertEqual(set(ROOMS) | {BACKGROUND}, set(found.values()))

    def test_pure_modules_are_there(self) -> None:
        """Every name in the list of the pure is a module or a package."""
        self.assertEqual(set(PURE) - set(modules()), set())

    def test_docstrings(self) -> None:
        """Every module says in a docstring what it is for."""
        silent = [module for module, tree in modules().items() if not ast.get_docstring(tree)]
        self.assertEqual(silent, [])

    def test_the_reactor_is_imported_late(self) -> None:
        """Even `tap` does not import the reactor by being imported, for twistd chooses it."""
        at_import = [
            name
            for node in modules()["integralgit.tap"].body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in imports(ast.Module([node], []))
        ]
        self.assertNotIn(REACTOR, at_import)


class RuleTests(SynchronousTestCase):
    """The rules above do refuse something."""

    def test_refused(self) -> None:
        """Imports against the direction, into the pure, or of the reactor are found."""
        for module, source in (
            ("integralgit.names", "from integralgit.settings import Trust"),
            ("integralgit.names", "from integralgit.quantities import size"),
            ("integralgit.settings", "import integralgit.hooks.delivery"),
            ("integralgit.hooks.github", "from integralgit import journal"),
            ("integralgit.hooks.github", "from integralgit.hostconfig.keys import KEYS"),
            ("integralgit.hooks.github", "from twisted.logger import Logger"),
            ("integralgit.hooks.github", "import twisted"),
            ("integralgit.hooks.github", "from integralgit.background import Background"),
            ("integralgit.hooks.github", "from ..names import Repository"),
            ("integralgit.journal.events", "def f():\n    import twisted.python.failure"),
            ("integralgit.journal.store", "from integralgit.deploy import decide"),
            ("integralgit.journal.store", "from integralgit.testing import MemoryStore"),
            ("integralgit.deploy.decide", "from twisted.internet.defer import Deferred"),
            ("integralgit.deploy.deployer", "from integralgit.web.addresses import Addresses"),
            ("integralgit.deploy.deployer", "from integralgit.statefiles import read_keys"),
            ("integralgit.deploy.deployer", "from twisted.internet import reactor"),
            ("integralgit.report.github", "from treq.client import HTTPClient"),
            ("integralgit.report.outbox", "from integralgit.web.pages import deploy_json"),
            ("integralgit.deploy.deployer", "from integralgit.report.http import Http"),
            ("integralgit.web.pages", "from klein import Klein"),
            ("integralgit.web.app", "from integralgit.tap import Options"),
            ("integralgit.web.app", "def f():\n    import twisted.internet.reactor"),
            ("integralgit.testing", "from integralgit.web.app import Pages"),
            ("integralgit.location.update", "from integralgit.journal import deploys"),
            ("integralgit.processes.child", "from integralgit.settings import Trust"),
            ("integralgit.background", "from integralgit.names import matches"),
            ("integralgit.tap", "from integralgit.cellar import wine"),
        ):
            (imported,) = imports(ast.parse(source))
            self.assertIsNotNone(complaint(module, imported), (module, source))

    def test_allowed(self) -> None:
        """Imports along the direction, and of other libraries, are not complained of."""
        for module, source in (
            ("integralgit.settings", "from integralgit.names import matches"),
            ("integralgit.settings", "from integralgit import quantities"),
            ("integralgit.hooks.github", "from integralgit.hooks.body import decode"),
            ("integralgit.hooks.github", "import msgspec"),
            ("integralgit.journal.store", "from integralgit.background import Background"),
            ("integralgit.journal.store", "from twisted.internet.defer import Deferred"),
            ("integralgit.web.app", "from integralgit import __version__"),
            ("integralgit.testing", "from integralgit.location.git import Git"),
            ("integralgit.demo", "from integralgit import hook"),
            ("integralgit.tap", "from twisted.internet import reactor"),
            ("integralgit.tap", "from integralgit.statefiles import read_keys"),
        ):
            (imported,) = imports(ast.parse(source))
            self.assertIsNone(complaint(module, imported), (module, source))
