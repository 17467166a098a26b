"""One deploy: its page, its log as text and by lines, and both live."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from markupsafe import Markup
from msgspec.structs import asdict
from twisted.web.server import Request

from integralgit.journal import deploys
from integralgit.journal.events import DeployChanged, State
from integralgit.journal.lines import Matches
from integralgit.web import pages
from integralgit.web.access import header_values
from integralgit.web.answers import HTTPError, json_bytes, set_headers, wants_json
from integralgit.web.app import Pages
from integralgit.web.guards import number, reading, text
from integralgit.web.logview import MOST_LINES, PAGE_LINES
from integralgit.web.stream import LogEvents, LogText, Streaming, stream
from integralgit.web.tail import LineEvents, Tail, told

#: How many lines that hold a text a page shows.
MOST_HITS = 200

_RANGE = re.compile(r"bytes=(?:(\d{1,15})-(\d{0,15})|-(\d{1,15}))", re.ASCII)
_LINES = re.compile(r"(\d{1,15})-(\d{1,15})", re.ASCII)


def _took(web: Pages) -> Callable[[pages.Json], str]:
    return lambda step: pages.duration(step, web.now())


@Pages.app.route("/<path:repo>/deploys/<int:deploy>", methods=["GET"])
@reading
async def deploy_page(web: Pages, request: Request, repo: str, deploy: int) -> Any:
    """The deploy, with the end of its log, or the lines that were asked for."""
    found = await web.find(request, repo, deploy)
    if wants_json(request):
        return json_bytes(request, found)
    view, wanted = web.views.of(deploy), text(request, "find")
    first, count = number(request, "from"), number(request, "lines")
    sections = await view.sections(found, _took(web))
    total = await view.total(found)
    count = PAGE_LINES if count is None else min(count, PAGE_LINES)
    first = max(1, total - count + 1) if first is None else max(1, min(first, total))
    rows = await view.rows(found, first, first + count - 1)
    after = number(request, "after") or 0
    hits = await view.find(found, wanted, after) if wanted else None
    # A step's section begins with our line that names it, which is its headline here.
    parts = {section: (section.first + bool(section.name), section.last) for section in sections}
    by_line = rows.html.split("\n")
    values = {
        "deploy": found,
        "sections": [
            {
                "section": section,
                "html": Markup(  # noqa: S704 - rows of `logview`, which escapes
                    "\n".join(by_line[max(0, begin - rows.first) : max(0, end - rows.first + 1)])
                ),
            }
            for section, (begin, end) in parts.items()
            if end >= rows.first and begin <= rows.last + 1
        ],
        "layout": [asdict(section) for section in sections],
        "rows": rows,
        "total": total,
        "page_lines": PAGE_LINES,
        "wanted": wanted,
        "after": after,
        "hits": _cut(hits) if hits else None,
        "provider": (await web.repository(request, found["repo"])).provider,
    }
    return web.page(request, "deploy.html", values)


def _cut(found: Matches) -> Matches:
    """As much of what was found in a log as a page shows."""
    lines = found.lines[:MOST_HITS]
    return found if lines == found.lines else Matches(lines, lines[-1], more=True)


@Pages.app.route("/<path:repo>/deploys/<int:deploy>/events", methods=["GET"])
@reading
async def events(web: Pages, request: Request, repo: str, deploy: int) -> Any:
    """The deploy live: with the text of its log, or with `?view=lines` as rows for a page."""
    await web.find(request, repo, deploy)
    if request.method == b"HEAD":
        set_headers(request, "text/event-stream; charset=utf-8")
        return b""

    async def look() -> pages.Json:
        return await web.look(deploy)

    if text(request, "view") == "lines":
        tail = web.tails.get(deploy)
        if tail is None:
            tail = web.tails[deploy] = Tail(
                deploy, web.views.of(deploy), web.logs, web.ticker, web.background, look, _took(web)
            )
        lines = LineEvents(request, web.ticker, web.hub, web.background, deploy, look, tail)
        return stream(request, lines)
    last = (header_values(request, "last-event-id") or [""])[-1]
    if last and not (last.isascii() and last.isdigit() and len(last) < 16):
        raise HTTPError(400, "`Last-Event-ID` must be an offset into the log.")
    offset = int(last) if last else number(request, "offset") or 0
    viewer = LogEvents(request, web.ticker, web.hub, web.background, deploy, look, web.logs, offset)
    return stream(request, viewer)


@Pages.app.route("/<path:repo>/deploys/<int:deploy>/log", methods=["GET"])
@reading
async def log_text(web: Pages, request: Request, repo: str, deploy: int) -> Any:
    """The log: as text, whole, in a range or growing; or by lines, as JSON."""
    found = await web.find(request, repo, deploy)
    if asked := text(request, "lines"):
        return await _lines(web, request, found, asked)
    if wanted := text(request, "find"):
        return await _found(web, request, found, wanted)
    set_headers(request, "text/plain; charset=utf-8")
    if text(request, "follow") == "1" and found["finished_at"] is None:
        end, forget = _final_size(web, deploy)
        request.notifyFinish().addBoth(lambda _: forget())
        return Streaming(LogText(request, web.ticker, web.logs, deploy, 0, end))
    # What is left behind may have cut the file since it was measured.
    size = min(found["log_size"] or 0, web.logs.size(deploy))
    start, stop = _range(request, size)
    request.setHeader("Accept-Ranges", "bytes")
    request.setHeader("Content-Length", str(stop - start))
    if text(request, "download") == "1":
        request.setHeader("Content-Disposition", f'attachment; filename="deploy-{deploy}.log"')
    if request.method == b"HEAD":
        return b""
    return Streaming(LogText(request, web.ticker, web.logs, deploy, start, lambda: stop))


async def _lines(web: Pages, request: Request, deploy: pages.Json, asked: str) -> bytes:
    """`?lines=120-240`: those lines as rows, and the sections."""
    found = _LINES.fullmatch(asked)
    if not found or not 0 < int(found[1]) <= int(found[2]):
        raise HTTPError(400, "`lines` must be like 120-240.")
    first, last = int(found[1]), min(int(found[2]), int(found[1]) + MOST_LINES - 1)
    view = web.views.of(deploy["id"])
    sections = await view.sections(deploy, _took(web))
    return json_bytes(request, told(await view.rows(deploy, first, last), sections))


async def _found(web: Pages, request: Request, deploy: pages.Json, wanted: str) -> bytes:
    """`?find=text`: the numbers of the lines that hold it, behind `?after=`."""
    after = number(request, "after") or 0
    found = await web.views.of(deploy["id"]).find(deploy, wanted, after)
    return json_bytes(request, {"find": wanted, **asdict(found)})


def _range(request: Request, size: int) -> tuple[int, int]:
    """The part of a log that a reader asks for; the whole for what is no range (RFC 9110, 14.1.1)."""
    asked = (header_values(request, "range") or [""])[-1]
    found = _RANGE.fullmatch(asked)
    if not found or (found[1] and found[2] and int(found[1]) > int(found[2])):
        return 0, size
    start = int(found[1]) if found[1] else max(0, size - int(found[3]))
    stop = min(size, int(found[2]) + 1) if found[2] else size
    if start >= stop:
        request.setHeader("Content-Range", f"bytes */{size}")
        raise HTTPError(416, f"The log has {size} bytes.")
    request.setResponseCode(206)
    request.setHeader("Content-Range", f"bytes {start}-{stop - 1}/{size}")
    return start, stop


def _final_size(web: Pages, deploy: int) -> tuple[Callable[[], int | None], Callable[[], None]]:
    """What gives the log's size once the deploy has ended, and None before; and how to stop."""
    known: list[int] = []

    def look(event: object) -> None:
        if not isinstance(event, DeployChanged) or event.deploy != deploy:
            return
        reading = web.store.read(lambda tx: deploys.known(tx, deploy))
        reading.addCallback(
            lambda found: known.append(web.size(found)) if found.state.ended else None
        )

    stop = web.hub.watch(look)
    look(DeployChanged(deploy, "", State.RUNNING))
    return lambda: known[0] if known else None, stop
