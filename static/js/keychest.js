// What pages need besides htmx: the token in its requests, a word when nobody answers, and small comforts.
"use strict";

const notices = document.getElementById("notices");
const PATIENCE_MS = 10000;

document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-CSRFToken"] = document.querySelector("meta[name=csrf-token]").content;
});

const say = (id) => notices.replaceChildren(document.getElementById(id).content.cloneNode(true));
const ours = (detail) => detail.xhr?.getResponseHeader("X-KeyChest") != null;

// Nobody answers at all: say so, and leave what was typed where it is.
for (const name of ["htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(name, () => say("no-answer"));
}

// A server or proxy before us answered: its page does not take the place of what was typed.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (ours(event.detail)) return;
  event.detail.shouldSwap = false;
  say("not-ours");
});

// A list that is too long is not sent at all; the text stays where it is.
document.addEventListener("submit", (event) => {
  const box = event.target.querySelector("textarea[data-most-lines]");
  if (!box) return;
  document.getElementById("names-error")?.remove();
  box.removeAttribute("aria-invalid");
  const lines = box.value.split("\n").length - box.value.endsWith("\n");
  if (lines <= Number(box.dataset.mostLines) && new Blob([box.value]).size <= Number(box.dataset.mostBytes)) return;
  event.preventDefault();
  event.stopPropagation();
  box.setAttribute("aria-invalid", "true");
  box.after(document.getElementById("too-much").content.cloneNode(true));
}, true);

// The last question of a waiting list brings it anew, worst first: not while somebody ticks names in it.
document.addEventListener("htmx:beforeRequest", (event) => {
  const { elt, target } = event.detail;
  if (elt.id === "pending" && target.id === "list" && target.querySelector("input:checked")) event.preventDefault();
});

// A list that waits for scans asks again by itself. What it reports goes when it is over; what a person's act reported stays.
document.addEventListener("htmx:afterRequest", (event) => {
  const waiting = event.detail.elt.id === "pending";
  if (!event.detail.successful) {
    notices.dataset.from = waiting ? "waiting" : "act";
    if (waiting) setTimeout(() => document.getElementById("pending") && htmx.trigger("#pending", "again"), PATIENCE_MS);
  } else if (ours(event.detail) && (!waiting || notices.dataset.from === "waiting")) {
    notices.replaceChildren();
  }
});

document.addEventListener("click", (event) => {
  const dismiss = event.target.closest("[data-dismiss]");
  if (dismiss) dismiss.closest(".toast").remove();
});

// On a phone the tabs scroll: begin at the current one.
const here = document.querySelector(".tabs [aria-current]");
if (here) {
  const tabs = here.parentElement;
  const show = () => { tabs.scrollLeft += here.getBoundingClientRect().left - tabs.getBoundingClientRect().left - (tabs.clientWidth - here.offsetWidth) / 2; };
  show();
  new ResizeObserver(show).observe(tabs);
}

// A passkey: what the server asks goes to the device, and what the device answers goes into the form.
const asked = document.querySelector("form[data-passkey]");
if (asked) {
  const { passkey: act, asked: question } = asked.dataset;
  const tell = (id) => document.getElementById("passkey-said").replaceChildren(document.getElementById(id).content.cloneNode(true));
  const FAILED = { InvalidStateError: "passkey-known", SecurityError: "passkey-elsewhere" };
  const ask = async () => {
    const read = { create: "parseCreationOptionsFromJSON", get: "parseRequestOptionsFromJSON" }[act];
    if (!window.PublicKeyCredential?.[read]) return tell("passkey-old");
    try {
      const answer = await navigator.credentials[act]({ publicKey: PublicKeyCredential[read](JSON.parse(question)) });
      asked.elements.answer.value = JSON.stringify(answer.toJSON());
      asked.submit();
    } catch (error) {
      tell(FAILED[error.name] ?? "passkey-no");
    }
  };
  asked.addEventListener("submit", (event) => { event.preventDefault(); ask(); });
  ask();
}

// Back from an identity provider: what came is posted on at once. Before the page is whole, so that "back" does not lead here again.
document.querySelector("form[data-onward]")?.submit();
