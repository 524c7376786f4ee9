// The console's own script: what HTML alone cannot do. Every page works without it but for the tail.
"use strict";

// Pages show times in the browser's own zone from the next one on.
document.cookie = `timezone=${Intl.DateTimeFormat().resolvedOptions().timeZone}; path=/; max-age=31536000; samesite=lax`;

// Copies the text of the element that data-copy names, as CSS selectors do.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const text = document.querySelector(button.dataset.copy)?.textContent ?? "";
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = button.dataset.copied ?? "✓";
  } catch {
    const range = document.createRange();
    range.selectNodeContents(document.querySelector(button.dataset.copy));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  }
});

// Tail: rows as they come, put into the page at most once a frame, and no more of them than it says.
function follow(tail) {
  const most = Number(tail.dataset.most);
  const body = tail.querySelector("tbody");
  const example = tail.querySelector("template");
  const pause = tail.querySelector("[data-pause]");
  const counts = { shown: 0, leftOut: 0 };
  let waiting = [];
  let drawing = false;

  function row(event) {
    const made = example.content.cloneNode(true);
    for (const cell of made.querySelectorAll("[data-cell]")) cell.textContent = event[cell.dataset.cell];
    made.querySelector("a").setAttribute("href", event.url);
    return made;
  }

  function draw() {
    drawing = false;
    const rows = waiting.reverse().map(row);
    waiting = [];
    body.prepend(...rows);
    while (body.rows.length > most) body.lastElementChild.remove();
    tail.querySelector("[data-shown]").textContent = counts.shown;
    tail.querySelector("[data-left-out]").textContent = counts.leftOut;
  }

  pause.addEventListener("click", () => {
    pause.setAttribute("aria-pressed", String(pause.getAttribute("aria-pressed") !== "true"));
  });
  const source = new EventSource(tail.dataset.stream);
  const paused = () => pause.getAttribute("aria-pressed") === "true";
  // each connection begins with the newest events, so the counts are of one connection
  source.addEventListener("open", () => {
    tail.querySelector("[data-lost]").hidden = true;
    counts.shown = counts.leftOut = 0;
    if (!paused()) { waiting = []; body.replaceChildren(); }
  });
  source.addEventListener("error", () => {
    // unless it is closed the browser tries again by itself
    const refused = source.readyState === EventSource.CLOSED;
    tail.querySelector(refused ? "[data-refused]" : "[data-lost]").hidden = false;
  });
  source.addEventListener("message", (message) => {
    const batch = JSON.parse(message.data);
    const taken = paused() ? [] : batch.rows;
    waiting.push(...taken);
    const over = waiting.splice(0, Math.max(0, waiting.length - most)).length;
    counts.shown += taken.length - over;
    counts.leftOut += batch.left_out + batch.rows.length - taken.length + over;
    if (!drawing) requestAnimationFrame(draw);
    drawing = true;
  });
  addEventListener("pagehide", () => source.close());
}
const tail = document.getElementById("tail");
if (tail) follow(tail);

// A part that asks for itself anew is replaced by each answer. Without any for three turns the page is grey and
// says since when, whatever has ended: the console, the network, or this person's login.
const polling = () => document.querySelector("[hx-trigger^='every ']");
let last = { part: polling(), at: Date.now() };
// A hidden page asks more seldom.
document.addEventListener("visibilitychange", () => { last.at = Date.now(); });
setInterval(() => {
  const part = polling();
  if (part !== last.part) last = { part, at: Date.now() };
  const turn = part ? 1000 * parseInt(part.getAttribute("hx-trigger").slice(6), 10) : Infinity;
  const stale = !document.hidden && Date.now() - last.at > 3 * turn + 1000;
  const words = document.getElementById("stale");
  words.hidden = !stale;
  if (stale) words.querySelector("time").textContent = new Date(last.at).toLocaleTimeString();
  document.body.toggleAttribute("data-stale", stale);
}, 1000);

// Buttons that need this script are hidden without it.
for (const element of document.querySelectorAll("[data-script]")) element.hidden = false;
