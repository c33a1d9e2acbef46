// Keeps regions of a page up to date: an element of data-live (seconds) and an id is
// fetched again after that time, as a whole page, and its nodes are adopted. With
// data-live-form the form of that id is posted instead of the page being read. It
// ends when the new element bears no data-live. What bears data-live-with, the id of
// such a region, changes with it. Without this script there is a button or a link
// that does the same.

function ask(region) {
  const form = document.getElementById(region.dataset.liveForm ?? "");
  return new Promise((done) => {
    const request = new XMLHttpRequest();
    request.open(form ? "POST" : "GET", form ? form.action : location.href);
    request.responseType = "document";
    request.timeout = 100_000;
    request.onloadend = () => done(request);
    request.send(form ? new URLSearchParams(new FormData(form)) : null);
  });
}

// A status keeps its element, so that a screen reader says what changed.
function keepStatuses(region, next) {
  for (const said of next.querySelectorAll("[role=status][id]")) {
    const before = document.getElementById(said.id);
    if (!before || !region.contains(before)) continue;
    tell(before, said);
    said.replaceWith(before);
  }
}

function tell(before, said) {
  if (before.textContent !== said.textContent) before.textContent = said.textContent;
  before.className = said.className;
}

function adopt(region, next) {
  const focused = region.contains(document.activeElement) ? document.activeElement.id : "";
  next = document.adoptNode(next);
  keepStatuses(region, next);
  for (const name of ["data-live", "data-live-form", "data-live-with", "aria-busy"]) {
    if (next.hasAttribute(name)) region.setAttribute(name, next.getAttribute(name));
    else region.removeAttribute(name);
  }
  region.replaceChildren(...next.childNodes);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

const visible = () => new Promise((done) => {
  if (!document.hidden) { done(); return; }
  document.addEventListener("visibilitychange", done, { once: true });
});

async function follow(region) {
  let failures = 0;
  while (region.dataset.live !== undefined && region.isConnected) {
    const seconds = Math.max(Number(region.dataset.live) || 0, failures ? Math.min(60, 2 ** failures) : 0);
    await new Promise((done) => { setTimeout(done, seconds * 1000); });
    await visible();
    const request = await ask(region);
    const page = request.response;
    const next = page?.getElementById(region.id);
    if (next) {
      failures = 0;
      for (const other of document.querySelectorAll(`[data-live-with="${region.id}"][id]`)) {
        const changed = page.getElementById(other.id);
        if (changed && other.role === "status") tell(other, changed);
        else if (changed && !other.isEqualNode(changed)) adopt(other, changed);
      }
      adopt(region, next);
    } else if (request.status >= 400 && request.status < 500) {
      return; // signed out, or gone: what is shown stays until the page is loaded again
    } else {
      failures++;
    }
  }
}

for (const region of document.querySelectorAll("[data-live][id]")) follow(region);
