// What the pages of customers and the back office have alike: times in the reader's own zone, buttons that copy,
// and forms that are sent once.
"use strict";

const all = (root, selector) => [
  ...(root.matches?.(selector) ? [root] : []),
  ...root.querySelectorAll(selector),
];

const styles = {
  full: { dateStyle: "medium", timeStyle: "short" },
  short: { month: "short", day: "numeric", hour: "numeric", minute: "2-digit" },
  seconds: { dateStyle: "medium", timeStyle: "medium" },
  date: { dateStyle: "medium" },
};

// Times arrive as UTC; the reader sees their own, and UTC on hovering.
function localize(time) {
  const moment = new Date(time.dateTime);
  if (Number.isNaN(moment.getTime())) return;
  time.textContent = new Intl.DateTimeFormat(undefined, styles[time.dataset.style] ?? styles.full).format(moment);
}

function toast(text) {
  const list = document.querySelector(".toasts");
  if (!list) return;
  const item = document.createElement("div");
  item.className = "toast";
  item.textContent = text;
  list.append(item);
  setTimeout(() => item.remove(), 4000);
}

// The clipboard API is missing on pages served over plain HTTP; the old way still works there.
async function toClipboard(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.setAttribute("readonly", "");
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("The browser did not copy.");
}

async function copy(button) {
  const source = document.getElementById(button.dataset.copyTarget);
  try {
    await toClipboard(button.dataset.copy || source.textContent.trim());
  } catch {
    toast("Your browser did not allow copying: select the text and copy it yourself.");
    return;
  }
  toast(button.dataset.copied || "Copied");
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 2000);
}

function share(root) {
  all(root, "time[datetime]").forEach(localize);
  all(root, "button.copy").forEach((button) => { button.hidden = false; });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button.copy");
  if (button) copy(button);
});

// A form is sent once, however often its button is pressed.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post" || event.defaultPrevented) return;
  const button = event.submitter;
  setTimeout(() => { if (button) button.disabled = true; });
});
// The page may come back from the browser's cache, with its buttons as they were left.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) document.querySelectorAll("form button:disabled").forEach((button) => { button.disabled = false; });
});

// The back office loads this before there is a page.
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => share(document));
else share(document);
document.addEventListener("htmx:load", (event) => {
  share(event.detail.elt);
  // The same for the dialogs of the back office, which htmx would send again.
  all(event.detail.elt, "#dialog form").forEach((form) => form.setAttribute("hx-sync", "this:drop"));
});
