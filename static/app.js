// What the customers' pages gain where scripts run, beside shared.js; each of them works without.
"use strict";

function enhance(root) {
  all(root, "button.dismiss").forEach((button) => { button.hidden = false; });
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

// What is shown once is not kept for the Back button either.
window.addEventListener("pagehide", () => {
  document.querySelectorAll("[data-secret]").forEach((secret) => {
    secret.textContent = "It was shown once.";
    secret.removeAttribute("href");
  });
});

enhance(document);
document.addEventListener("htmx:load", (event) => enhance(event.detail.elt));
