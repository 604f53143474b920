// What pages need besides htmx: the token in its requests, a word when nobody answers, and small comforts.
"use strict";

const notices = document.getElementById("notices");
const PATIENCE_MS = 10000;

document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-CSRFToken"] = document.querySelector("meta[name=csrf-token]").content;
});

// Nobody answers at all: say so, and leave what was typed where it is.
for (const name of ["htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(name, () => {
    notices.replaceChildren(document.getElementById("no-answer").content.cloneNode(true));
  });
}

// A list that waits for scans asks again by itself. What it reports goes when it is over; what a person's act reported stays.
document.addEventListener("htmx:afterRequest", (event) => {
  const waiting = event.detail.elt.id === "pending";
  if (!event.detail.successful) {
    notices.dataset.from = waiting ? "waiting" : "act";
    if (waiting) setTimeout(() => document.getElementById("pending") && htmx.trigger("#pending", "again"), PATIENCE_MS);
  } else if (!waiting || notices.dataset.from === "waiting") {
    notices.replaceChildren();
  }
});

document.addEventListener("click", (event) => {
  const dismiss = event.target.closest("[data-dismiss]");
  if (dismiss) dismiss.closest(".toast").remove();
});

// On a phone the tabs scroll: begin at the current one.
const here = document.querySelector(".tabs [aria-current]");
if (here) here.parentElement.scrollLeft = here.offsetLeft - (here.parentElement.clientWidth - here.offsetWidth) / 2;
