// Makes the pages live: what changed is shown anew, and a log grows as it is printed.

/** A function that calls another at most once in a while, and once more if it was called meanwhile. */
function seldom(action, delay) {
  let [running, again] = [false, false];
  return async function run() {
    if (running) { again = true; return; }
    running = true;
    await new Promise((resolve) => setTimeout(resolve, delay));
    again = false;
    try { await action(); } finally { running = false; }
    if (again) run();
  };
}

/** Resolves when nothing is pressed and its click has come, for a click on what is replaced or moved is lost. */
let released, release;
addEventListener("pointerdown", () => { released = new Promise((free) => { release = free; setTimeout(free, 2000); }); });
addEventListener("pointerup", () => setTimeout(release));

/** Replace a part of this page by the same part of a fresh copy, but for forms that somebody fills in. */
export async function refresh(selector, address = location.href) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  await released;
  const [old, now] = [document.querySelector(selector), fresh.querySelector(selector)];
  if (!old || !now) return;
  for (const kept of old.querySelectorAll("[data-keep][open]")) {
    const twin = now.querySelector(`#${kept.id}`);
    if (twin) twin.open = true;
    const place = [...old.childNodes].findIndex((one) => one.contains(kept));
    if (!old.childNodes[place].isEqualNode(now.childNodes[place] ?? null)) twin?.replaceWith(kept);
  }
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  // What is the same stays: a click on what is replaced under it would be lost.
  const [was, is] = [[...old.childNodes], [...now.childNodes]];
  was.forEach((node, place) => { if (!is[place]?.isEqualNode(node)) node.replaceWith(...is.slice(place, place + 1)); });
  old.append(...is.slice(was.length));
  const same = focused?.getAttribute("href") && `a[href="${CSS.escape(focused.getAttribute("href"))}"]`;
  (focused?.isConnected ? focused : same && old.querySelector(same))?.focus();
  document.title = fresh.title;
  showTimes();
}

/** Hear the server's events, each by its function; after an error, too, as of a proxy while the server restarts.
 *  There a browser, which goes on by itself where it was cut off, gives up (HTML standard, "fail the connection"). */
function hear(address, heard, delay = 1000) {
  const events = new EventSource(address);
  for (const [name, tell] of Object.entries(heard)) events.addEventListener(name, tell);
  events.addEventListener("open", () => { delay = 1000; });
  events.addEventListener("error", () => {
    const again = () => hear(address, heard, Math.min(2 * delay, 30_000));
    if (events.readyState === EventSource.CLOSED) setTimeout(again, delay);
  });
}

/** Times in the reader's zone, those of today without the date, with the exact one on hover. */
function showTimes() {
  const today = new Date().toDateString();
  for (const time of document.querySelectorAll("time")) {
    const moment = new Date(time.dateTime);
    const style = moment.toDateString() === today ? { timeStyle: "medium" } : { dateStyle: "medium", timeStyle: "short" };
    time.textContent = moment.toLocaleString(undefined, style);
  }
}

/** How long what goes on has gone on. */
function showDurations() {
  for (const place of document.querySelectorAll("[data-since]")) {
    const seconds = Math.max(0, Math.floor((Date.now() - new Date(place.dataset.since)) / 1000));
    place.textContent = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")} s`;
  }
}

/** Lines in one element of the page; those far from the screen are empty elements of their height. */
const CHUNK = 200;
/** More lines than that are too high for a browser's page; the first ones are in the text. */
const MOST = 500_000;

class Log {
  constructor(root) {
    this.root = root;
    this.path = root.dataset.path;
    this.place = root.querySelector("#lines");
    this.button = root.querySelector("#follow");
    this.chunks = [];
    this.sections = [];
    this.hits = [];
    [this.total, this.skipped] = [0, 0];
    this.ended = Boolean(root.dataset.ended);
    this.following = !this.ended && !location.hash;
    // What the server has put into the page already.
    this.given = new Map([...this.place.querySelectorAll(".l")].map((row) => [numberOf(row), row]));
    for (const link of root.querySelectorAll(".earlier, .later, .found")) link.remove();
    this.place.replaceChildren();
    this.watcher = new IntersectionObserver((seen) => this.seen(seen), { rootMargin: "1200px 0px" });
    this.layout(JSON.parse(root.dataset.sections), Number(root.dataset.total));
    this.find = new Find(this, root.querySelector("[role=search]"));
    addEventListener("hashchange", () => this.goToHash());
    this.watchScrolling();
    if (!this.ended) this.listen();
    if (location.hash) this.goToHash();
    this.follow();
  }

  /** Make sections and chunks for all lines that there are now. */
  layout(sections, total) {
    this.skipped = Math.max(this.skipped, total - MOST);
    while (this.chunks.length && this.chunks[0].last <= this.skipped) {
      const { place, section } = this.chunks.shift();
      place.remove();
      section.chunks.shift();
    }
    if (this.skipped) this.place.prepend(this.note ??= element("p", "cut", "The first lines are in the text only."));
    sections.forEach((section, index) => {
      const made = this.sections[index] ??= this.makeSection(section);
      // A deploy that was queued again begins its steps anew.
      if (made.name !== section.name || made.first !== section.first) location.reload();
      made.describe?.(section);
      const first = Math.max(section.first + (section.name ? 1 : 0), this.skipped + 1);
      if (made.chunks.length) this.resize(made.chunks.at(-1), section.last);
      for (let from = Math.max(made.next ?? first, first); from <= section.last; from += CHUNK) {
        this.makeChunk(made, from, section.last);
        made.next = from + CHUNK;
      }
    });
    this.total = total;
  }

  makeSection(section) {
    const rows = element("div", "rows");
    if (!section.name) {
      this.place.append(rows);
      return { ...section, rows, chunks: [] };
    }
    const details = element("details", "step");
    const [mark, state, took] = ["mark", "unseen", "took"].map((name) => element("span", name));
    mark.ariaHidden = "true";
    const summary = element("summary");
    summary.id = `L${section.first}`;
    summary.append(mark, ` ${section.name} `, state, took);
    details.append(summary, rows);
    this.place.append(details);
    // What went well before the script is of little interest once the script has begun.
    const isEarly = ["fetch", "update"].includes(section.name);
    details.open = section.state !== "succeeded" || !isEarly;
    const describe = (now) => {
      if (isEarly && details.dataset.state === "running" && now.state === "succeeded") details.open = false;
      details.className = `step ${now.state}`;
      details.dataset.state = now.state;
      mark.textContent = { running: "▶", succeeded: "✓", failed: "✗" }[now.state] ?? "";
      [state.textContent, took.textContent] = [now.state, now.took];
    };
    return { ...section, rows, chunks: [], details, describe };
  }

  makeChunk(section, first, last) {
    const chunk = { first, last: first - 1, held: 0, section, place: element("div", "chunk"), near: false };
    chunk.place.chunk = chunk;
    section.chunks.push(chunk);
    this.chunks.push(chunk);
    section.rows.append(chunk.place);
    this.resize(chunk, last);
    this.watcher.observe(chunk.place);
  }

  /** The chunk has lines up to that one of its section. */
  resize(chunk, last) {
    chunk.last = Math.min(chunk.first + CHUNK - 1, last);
    this.pad(chunk);
  }

  /** Give a chunk the height of the lines that it does not hold. */
  pad(chunk) {
    const held = Math.max(chunk.held, chunk.first - 1);
    chunk.place.style.paddingBottom = `${20 * (chunk.last - held)}px`;
  }

  /** Fill what comes near the screen, and empty what has gone far away. */
  seen(entries) {
    for (const { target: { chunk }, isIntersecting, boundingClientRect } of entries) {
      chunk.near = isIntersecting;
      if (isIntersecting) this.fill(chunk);
      else if (chunk.held && boundingClientRect.height) {
        chunk.place.replaceChildren();
        chunk.held = 0;
        chunk.place.style.paddingBottom = `${boundingClientRect.height}px`;
      }
    }
  }

  /** Put the lines of a chunk into the page, from the server unless the page came with them. */
  async fill(chunk, wanted = false) {
    if (chunk.filling) return chunk.filling;
    const missing = () => (chunk.near || wanted) && chunk.held < chunk.last;
    const work = async () => {
      while (missing()) {
        const from = Math.max(chunk.held + 1, chunk.first);
        const given = this.takeGiven(from, chunk.last);
        const told = given ?? await ask(`${this.path}/log?lines=${from}-${chunk.last}`);
        const rows = given ?? (told ? rowsOf(told.html) : []);
        if (!missing() || chunk.held >= from) continue;
        if (rows.length) this.put(chunk, rows);
        // The server is away, perhaps; what is near the screen is asked for again.
        else await new Promise((resolve) => setTimeout(resolve, 1000));
      }
    };
    chunk.filling = work();
    try { await chunk.filling; } finally { chunk.filling = null; }
  }

  takeGiven(first, last) {
    const rows = Array.from({ length: last - first + 1 }, (_, n) => this.given.get(first + n));
    if (!rows.every(Boolean)) return null;
    for (const row of rows) this.given.delete(numberOf(row));
    return rows;
  }

  /** Put rows into a chunk, behind those that it holds or in their place. */
  put(chunk, rows) {
    for (const row of rows) {
      const old = chunk.place.children[numberOf(row) - chunk.first];
      if (old) old.replaceWith(row);
      else chunk.place.append(row);
    }
    chunk.held = Math.max(chunk.held, numberOf(rows.at(-1)));
    this.pad(chunk);
    this.mark(rows);
    this.follow();
  }

  mark(rows) {
    for (const row of rows) {
      row.classList.toggle("hit", this.hits.includes(numberOf(row)));
      row.classList.toggle("target", row.id === this.target);
    }
  }

  chunkOf(line) {
    return this.chunks.find((chunk) => chunk.first <= line && line <= chunk.last);
  }

  listen() {
    const summary = seldom(() => refresh("#summary", `${this.path}?lines=0`), 150);
    const told = ({ data }) => {
      const { id, state } = JSON.parse(data);
      document.getElementById("said").textContent = `Deploy ${id} ${state.replace("_", " ")}`;
      summary();
    };
    // A stream begins with how it stands, so nothing is missed where one was cut off.
    hear(`${this.path}/events?view=lines`, {
      lines: ({ data }) => this.grow(JSON.parse(data)),
      state: told,
      step: told,
      end: ({ target }) => {
        target.close();
        this.ended = this.button.hidden = true;
        summary();
      },
    });
  }

  /** The newest lines, as the server tells them; those before, if any were missed, are asked for. */
  grow({ first, total, html, sections }) {
    this.layout(sections, total);
    const groups = new Map();
    for (const row of rowsOf(html)) {
      const chunk = this.chunkOf(numberOf(row));
      if (chunk) groups.set(chunk, [...(groups.get(chunk) ?? []), row]);
    }
    for (const [chunk, rows] of groups) if (numberOf(rows[0]) <= Math.max(chunk.held + 1, chunk.first)) this.put(chunk, rows);
    for (const chunk of this.chunks) if (chunk.near && chunk.held < chunk.last) this.fill(chunk);
    this.follow();
  }

  watchScrolling() {
    let before = scrollY;
    const follows = (yes) => { this.following = yes && !this.ended; this.button.hidden = yes || this.ended; };
    addEventListener("scroll", () => {
      const end = innerHeight + scrollY >= document.documentElement.scrollHeight - 40;
      if (end) follows(true);
      else if (scrollY < before - 2) follows(false);
      before = scrollY;
    }, { passive: true });
    this.button.addEventListener("click", () => { follows(true); this.follow(); });
  }

  follow() {
    if (this.following && !this.ended) scrollTo(0, document.documentElement.scrollHeight);
  }

  goToHash() {
    const found = /^#L(\d+)$/.exec(location.hash);
    if (found) this.goTo(Number(found[1]));
  }

  /** Show one line, in the middle of the screen unless it is there already. */
  async goTo(line) {
    const chunk = this.chunkOf(line);
    this.following = false;
    this.button.hidden = this.ended;
    this.target = `L${line}`;
    if (chunk) {
      if (chunk.section.details) chunk.section.details.open = true;
      if (chunk.held < line) chunk.place.scrollIntoView();
      await this.fill(chunk, true);
    } else if (line <= this.skipped) {
      this.find.said.textContent = `line ${line} is in the text only`;
    }
    for (const old of this.place.querySelectorAll(".target")) old.classList.remove("target");
    const row = document.getElementById(this.target);
    row?.classList.add("target");
    const { top, bottom } = row?.getBoundingClientRect() ?? {};
    if (top < 120 || bottom > innerHeight) row.scrollIntoView({ block: "center" });
  }
}

/** The search in a log: the server finds the lines, Enter goes from one to the next. */
class Find {
  constructor(log, form) {
    this.log = log;
    this.input = form.querySelector("input");
    this.said = form.querySelector("output");
    this.at = -1;
    const look = seldom(() => this.look(), 200);
    this.input.addEventListener("input", look);
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") { event.preventDefault(); this.next(event.shiftKey ? -1 : 1); }
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    addEventListener("keydown", (event) => {
      if (event.key === "/" && !event.target.closest("input, textarea")) { event.preventDefault(); this.input.focus(); }
    });
    if (this.input.value) this.look();
  }

  /** Look for what is in the field, once. */
  look() {
    if (this.input.value !== this.text) {
      this.text = this.input.value;
      this.looking = this.ask(this.text);
    }
    return this.looking;
  }

  async ask(text) {
    [this.log.hits, this.at, this.through] = [[], -1, 0];
    await this.more(text);
    this.log.mark(this.log.place.querySelectorAll(".l"));
    this.show();
  }

  /** Look behind what was looked at: the server ends a search that takes long. */
  async more(text) {
    let told = { more: text !== "" };
    while (told?.more && this.log.hits.length < 10_000) {
      told = await ask(`${this.log.path}/log?find=${encodeURIComponent(text)}&after=${this.through}`);
      if (!told || text !== this.text) return;
      this.log.hits.push(...told.lines);
      this.through = told.through;
      this.show();
    }
    this.unfinished = Boolean(told?.more);
  }

  async next(step) {
    await this.look();
    if (this.text && this.log.total > this.through && !this.unfinished) await this.more(this.text);
    const count = this.log.hits.length;
    if (!count) return;
    this.at = this.at < 0 && step < 0 ? count - 1 : (this.at + step + count) % count;
    this.show();
    this.log.goTo(this.log.hits[this.at]);
  }

  show() {
    const count = this.log.hits.length;
    const all = this.unfinished ? `${count}+` : count;
    this.said.textContent = !this.text ? "" : !count ? "none" : this.at < 0 ? `${all} found` : `${this.at + 1} of ${all}`;
  }
}

function element(name, className = "", textContent = "") {
  return Object.assign(document.createElement(name), { className, textContent });
}

/** Rows of a log from the server, which has escaped what is in them. */
function rowsOf(html) {
  return [...Object.assign(document.createElement("template"), { innerHTML: html }).content.children];
}

function numberOf(row) { return Number(row.id.slice(1)); }

async function ask(address) {
  const answer = await fetch(address, { headers: { Accept: "application/json" } });
  return answer.ok ? answer.json() : null;
}

showTimes();
setInterval(showDurations, 1000);
const [log, main] = [document.getElementById("log"), document.querySelector("main[data-live]")];
if (log) new Log(log);
if (main) {
  const anew = seldom(() => refresh("main"), 300);
  let missed = false;
  hear(main.dataset.live, {
    // Opened once more, it may have missed something.
    error: () => { missed = true; },
    open: () => { if (missed) anew(); },
    change: ({ data }) => {
      const { repo } = JSON.parse(data);
      if (!main.dataset.repo || !repo || repo === main.dataset.repo) anew();
    },
  });
}
