"""The examples in the documentation are true."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from integralgit.hooks.generic import _Push
from integralgit.hostconfig.keys import KEYS
from integralgit.hostconfig.resolve import deployments, resolve
from integralgit.journal.events import Deploy, State, Trigger
from integralgit.receivers import FORGE_READERS, NOTIFY_READERS
from integralgit.report.notify import payload
from integralgit.report.words import FAILED, Message, facts
from integralgit.settings import _READERS, _TRUST_READERS, make_settings

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[str]:
    """The code blocks of a language in all pages."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return [block for page in PAGES for block in pattern.findall(page.read_text())]


class Examples(SynchronousTestCase):
    def test_configs(self) -> None:
        """Every config in the pages resolves for the hosts it names, without a warning."""
        configs = [block for block in blocks("json") if '"configs"' in block]
        self.assertEqual(len(configs), 2)
        for text in configs:
            for host in ("web1", "web2", "stage1"):
                (one,) = resolve(text, (host,))
                self.assertEqual((one.warnings, one.errors), ((), ()))
                self.assertEqual(deployments([one])[0].location, "/srv/site")

    def test_messages(self) -> None:
        """Every message to programs in the pages has exactly the facts that are sent."""
        (text,) = [block for block in blocks("json") if '"type"' in block]
        shown = msgspec.json.decode(text)
        nothing: dict[str, Any] = dict.fromkeys(Deploy.__struct_fields__)
        deploy = Deploy(**{**nothing, "state": State.FAILED, "trigger": Trigger.PUSH})
        message = Message("m", FAILED, 0.0, "", "", "", facts(deploy, ""))
        sent = msgspec.json.decode(payload(message))
        self.assertEqual(set(shown), set(sent))
        self.assertEqual(set(shown["data"]), set(sent["data"]))

    def test_figures(self) -> None:
        """Every figure that the README tells stands in the table that the benchmarks wrote."""
        root = Path(__file__).parents[1]
        section = (root / "README.md").read_text().split("## How fast it is")[1].split("\n## ")[0]
        told = re.findall(r"\*\*([^*]+)\*\*", section)
        self.assertEqual(len(told), 5)
        table = (root / "docs" / "benchmarks.md").read_text()
        figures = re.findall(r"\| \*\*([^*]+)\*\* \|", table)
        self.assertEqual([one for one in told if one not in figures], [])

    def test_plain_pushes(self) -> None:
        """Every plain push in the pages is one that the door can read."""
        pushes = [block for block in blocks("json") if '"ref"' in block]
        self.assertEqual(len(pushes), 1)
        msgspec.json.decode(pushes[0], type=_Push)

    def test_settings(self) -> None:
        """Every settings file in the pages is accepted, and together they show every setting."""
        tables = {"trust": _TRUST_READERS, "forge": FORGE_READERS, "notify": NOTIFY_READERS}
        shown: set[str] = set()
        for text in blocks("toml"):
            file = tomllib.loads(text)
            make_settings(file, {})
            shown |= file.keys() - tables.keys()
            for name in tables.keys() & file.keys():
                shown |= {f"{name}.{key}" for table in file[name] for key in table}
        known = {f"{name}.{key}" for name, readers in tables.items() for key in readers}
        self.assertEqual(shown, set(_READERS) | known)

    def test_defaults(self) -> None:
        """Every line of the settings' page says its default, or that it is required."""
        page = (ROOT / "docs" / "settings.md").read_text()
        (block,) = re.findall(r"^```toml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
        lines = [line for line in block.splitlines() if line]
        silent = [line for line in lines if not re.search(r"#.*(default: |required)", line)]
        self.assertEqual(silent, [])

    def test_keys(self) -> None:
        """Every key of a config stands in its page."""
        page = (ROOT / "docs" / "config.md").read_text()
        for key in KEYS:
            self.assertIn(f"| `{key}` |", page)

    def test_links(self) -> None:
        """Every relative link leads to a file."""
        for page in PAGES:
            for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
                if "://" not in target:
                    self.assertTrue((page.parent / target).exists(), f"{page.name}: {target}")

    def test_every_module_is_on_the_map(self) -> None:
        """The architecture page names every module of the package."""
        page = (ROOT / "docs" / "architecture.md").read_text()
        modules = {module.name for module in (ROOT / "integralgit").rglob("*.py")}
        self.assertEqual({name for name in modules - {"__init__.py"} if name not in page}, set())
