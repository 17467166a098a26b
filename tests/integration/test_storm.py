"""A storm at the door: nothing accepted is lost or doubled, and memory stays bounded."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from tests.integration.harness import Daemon, Integration
from tests.integration.storm import Storm, Target


class StormTests(Integration):
    def memory(self, daemon: Daemon, field: str) -> int:
        """A figure of the server's memory, in bytes (proc(5), `status`)."""
        assert daemon.process is not None
        for line in Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(field)

    def inbox(self, daemon: Daemon) -> list[str]:
        """The provider's ids of everything in the inbox."""
        found: list[str] = []
        before = ""
        while page := daemon.get(f"/-/deliveries?limit=200{before}")["deliveries"]:
            found += [one["provider_id"] for one in page]
            before = f"&before={page[-1]['id']}"
        return found

    def test_a_thousand_requests(self) -> None:
        """A tenth of them hostile: every accepted push is in the inbox exactly once (threat 22)."""
        self.upstream.configure(
            {"configs": {"base": {"location": str(self.folder / "www"), "branch": "main"}}}
        )
        first = self.upstream.commit({"x": "y"})
        daemon = self.daemon()
        daemon.push(first, number="first")
        daemon.ended(1)
        before = self.memory(daemon, "VmRSS")
        storm = Storm(Target(urlsplit(daemon.url).port or 0, daemon.secret()))
        storm.blow()
        self.assertEqual(storm.answers["honest", 202], 900, storm.answers)
        self.assertEqual(storm.answers["forged", 401], 20, storm.answers)
        for sender in ("large_form", "large_chunks"):
            refused = storm.answers[sender, 413] + storm.answers[sender, 503]
            self.assertEqual(refused + storm.answers[sender, 0], 20, storm.answers)
            self.assertGreater(refused, 0, storm.answers)
        self.assertEqual(sorted(self.inbox(daemon)), sorted(["first", *storm.accepted]))
        grown = self.memory(daemon, "VmHWM") - before
        self.assertLess(grown, 60_000_000, f"{grown / 1e6:.0f} MB more than at the start")
        refused_page = daemon.get("/-/deliveries?limit=1")["refused"]
        forged = [one for one in refused_page["counts"] if one["status"] == 401]
        self.assertEqual(sum(one["count"] for one in forged), 20, refused_page)
