// What pages gain where scripts run; each of them works without.
"use strict";

const all = (root, selector) => [
  ...(root.matches?.(selector) ? [root] : []),
  ...root.querySelectorAll(selector),
];

const styles = {
  full: { dateStyle: "medium", timeStyle: "short" },
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

function enhance(root) {
  all(root, "time[datetime]").forEach(localize);
  all(root, "button.copy, button.dismiss").forEach((button) => { button.hidden = false; });
  all(root, "form[data-autosubmit] [data-fallback]").forEach((button) => { button.hidden = true; });
  all(root, "[data-when]").forEach(showWhenChosen);
  all(root, "select[data-browser-zone]").forEach(chooseZone);
}

// A new organization begins in the zone its maker is in.
function chooseZone(select) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if ([...select.options].some((option) => option.value === zone)) select.value = zone;
}

// A field that matters only for one choice of another: data-when names that one, data-is its value.
function showWhenChosen(part) {
  const choice = part.closest("form").elements[part.dataset.when];
  part.hidden = choice.value !== part.dataset.is;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.matches(".copy")) copy(button);
  if (button?.matches(".dismiss")) button.closest("li").remove();
  document.querySelectorAll("details.switcher[open]").forEach((menu) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  document.querySelectorAll("details.switcher[open], details.topbar[open]").forEach((menu) => {
    menu.open = false;
    menu.querySelector("summary").focus();
  });
});

document.addEventListener("change", (event) => {
  if (event.target.matches("form[data-autosubmit] select")) event.target.form.requestSubmit();
  event.target.form?.querySelectorAll("[data-when]").forEach(showWhenChosen);
});

// What renews itself rests while nobody looks.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.detail.elt.matches("[data-while-visible]")) event.preventDefault();
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

// What is shown once is not kept for the Back button either.
window.addEventListener("pagehide", () => {
  document.querySelectorAll("[data-secret]").forEach((secret) => {
    secret.textContent = "It was shown once.";
    secret.removeAttribute("href");
  });
});

enhance(document);
document.addEventListener("htmx:load", (event) => enhance(event.detail.elt));
