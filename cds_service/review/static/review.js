// Adds keys to the pages, which work without it. It sends no request.
"use strict";

const STORED = "review-keys"; // "off" where the reader switched the keys off
const help = document.getElementById("keys");
const rows = [...document.querySelectorAll("[data-row]")];
let chosen = -1;

function stored() {
  try { return localStorage.getItem(STORED); } catch { return null; } // storage can be forbidden
}

function store(value) {
  try { localStorage.setItem(STORED, value); } catch { /* then the choice lasts for this page */ }
}

let active = stored() !== "off";

function choose(step) {
  if (!rows.length) {
    document.querySelector(`a[data-go="${step > 0 ? "j" : "k"}"]`)?.click();
    return;
  }
  rows[chosen]?.removeAttribute("aria-current");
  chosen = Math.min(Math.max(chosen + step, 0), rows.length - 1);
  rows[chosen].setAttribute("aria-current", "true");
  rows[chosen].querySelector("a")?.focus();
  rows[chosen].scrollIntoView({ block: "nearest" });
}

function judge(key) {
  const choice = document.querySelector(`[data-judge] [data-key="${key}"]`);
  if (!choice) return false;
  choice.checked = true;
  choice.focus(); // Enter saves from here, Tab goes on to the response
  return true;
}

function archive() {
  const form = (rows[chosen] ?? (rows.length ? null : document))?.querySelector("form[data-archive]");
  form?.requestSubmit();
  return Boolean(form);
}

function tick() {
  const box = rows[chosen]?.querySelector("input[type=checkbox]");
  if (box) box.checked = !box.checked;
  return Boolean(box);
}

function pressed(key) {
  switch (key) {
    case "j": choose(1); return true;
    case "k": choose(-1); return true;
    case "o": rows[chosen]?.querySelector("a")?.click(); return chosen >= 0;
    case "/": document.querySelector("[data-filter]")?.focus(); return true;
    case "?": help?.showModal(); return true;
    case "x": return tick();
    default: return (key === "a" && archive()) || ("aimu".includes(key) && judge(key));
  }
}

// A field that takes text takes every key; a radio button or a box takes only those that move between them.
function typing(target) {
  return target.matches("textarea, select, input:not([type=radio], [type=checkbox])") || target.isContentEditable;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || help?.open || typing(event.target)) return;
  if (active && event.key.length === 1 && pressed(event.key)) event.preventDefault();
});

// A link's focus, by mouse or Tab, chooses its row
rows.forEach((row, place) => row.addEventListener("focusin", () => {
  rows[chosen]?.removeAttribute("aria-current");
  chosen = place;
  row.setAttribute("aria-current", "true");
}));

for (const button of document.querySelectorAll("[data-help]")) {
  button.hidden = !help;
  button.addEventListener("click", () => help.showModal());
}

for (const box of document.querySelectorAll("[data-shortcuts]")) {
  box.checked = active;
  box.addEventListener("change", () => {
    active = box.checked;
    store(active ? "on" : "off");
  });
}

// After an archived row the next one is chosen, so that the keys go on from there
const next = rows.findIndex((row) => row.hasAttribute("data-chosen"));
if (next >= 0) {
  chosen = next - 1;
  choose(1);
}
