// Makes the pages live: the log grows as it is printed, and what changed is shown anew.
"use strict";

/** Replace a part of this page by the same part of a fresh copy of it. */
async function refresh(selector) {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const [old, now] = [document.querySelector(selector), fresh.querySelector(selector)];
  if (old && now) old.replaceChildren(...now.childNodes);
  document.title = fresh.title;
  showTimes();
}

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

/** Times in the reader's zone, with the exact one on hover. */
function showTimes() {
  for (const time of document.querySelectorAll("time")) {
    time.textContent = new Date(time.dateTime).toLocaleString();
  }
}

/** Follow a log until its end, staying at its end unless the reader scrolls up. */
function follow(log) {
  const button = document.getElementById("follow");
  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 30;
  let following = true;
  const show = () => { if (following) log.scrollTop = log.scrollHeight; };
  log.addEventListener("scroll", () => { following = atEnd(); button.hidden = following; });
  button.addEventListener("click", () => { following = true; show(); });
  show();

  const summary = seldom(() => refresh("#summary"), 150);
  const events = new EventSource(log.dataset.events);
  events.addEventListener("log", (event) => {
    log.append(JSON.parse(event.data).text);
    show();
  });
  for (const name of ["state", "step"]) events.addEventListener(name, summary);
  events.addEventListener("end", () => { events.close(); summary(); });
}

document.addEventListener("DOMContentLoaded", () => {
  showTimes();
  const log = document.getElementById("log");
  if (log) follow(log);
  const main = document.querySelector("main[data-live]");
  if (main) {
    const anew = seldom(() => refresh("main"), 300);
    const events = new EventSource(main.dataset.live);
    events.addEventListener("change", (event) => {
      const change = JSON.parse(event.data);
      if (!main.dataset.repo || !change.repo || change.repo === main.dataset.repo) anew();
    });
  }
});
