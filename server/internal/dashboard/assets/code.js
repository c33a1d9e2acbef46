// Shows one-time codes with a ring that runs down, and fetches the next one until the
// person hides it, leaves, or five minutes are over. A code of a token that is kept at
// a webhook comes from there, with a ticket; the server never sees it. Each code is one
// look on record.
const showFor = 5 * 60_000;
const still = matchMedia("(prefers-reduced-motion: reduce)");
const svg = "http://www.w3.org/2000/svg";
const around = 2 * Math.PI * 9; // the ring's radius is 9

class Failure extends Error {}

async function json(response) {
  try { return await response.json(); } catch { return {}; }
}

async function post(url, options, away) {
  try {
    return await fetch(url, { method: "POST", cache: "no-store", redirect: "manual", ...options });
  } catch {
    throw new Failure(away);
  }
}

async function fromHere(path) {
  const response = await post(path, { headers: { Accept: "application/json" } }, "Token Vault could not be reached. Try again.");
  const answer = await json(response);
  if (response.status === 401 || response.type === "opaqueredirect") throw new Failure("You are not signed in any more. Load this page again.");
  if (!response.ok) throw new Failure(answer.problem ?? `Token Vault answered ${response.status}.`);
  return answer;
}

async function fromWebhook(service, { webhook, host }) {
  const headers = { "Content-Type": "application/json" };
  const asked = await post("/api/vault/credential-ticket", { headers, body: JSON.stringify({ serviceName: service, purpose: "totp_code" }) },
    "Token Vault could not be reached. Try again.");
  const { ticket, webhookUrl, detail } = await json(asked);
  if (!asked.ok) throw new Failure(detail ?? `Token Vault answered ${asked.status}.`);
  if (new URL(webhookUrl).origin !== new URL(webhook).origin) throw new Failure("Another webhook was bound meanwhile. Load this page again.");
  const given = await post(webhookUrl + "/v1/totp-code",
    { mode: "cors", credentials: "omit", referrerPolicy: "no-referrer", headers, body: JSON.stringify({ ticket, service }) },
    `Your browser could not reach the webhook at ${host}. Is it running, reachable from here, and bound to ${location.origin}? It allows that origin alone.`);
  const answer = await json(given);
  if (given.type === "opaqueredirect") throw new Failure("The webhook sent your browser elsewhere, which it does not follow.");
  if (!given.ok) throw new Failure(`The webhook refused: ${answer.message ?? given.status}`);
  return answer;
}

function element(name, look, text = "") {
  const made = document.createElement(name);
  made.className = look;
  made.textContent = text;
  return made;
}

function button(text, act) {
  const made = element("button", "second small", text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

function ring() {
  const image = document.createElementNS(svg, "svg");
  image.setAttribute("class", "ring");
  image.setAttribute("viewBox", "0 0 24 24");
  image.setAttribute("aria-hidden", "true");
  for (const look of ["track", "left"]) {
    const circle = document.createElementNS(svg, "circle");
    circle.setAttribute("class", look);
    for (const [name, value] of [["cx", 12], ["cy", 12], ["r", 9]]) circle.setAttribute(name, value);
    image.append(circle);
  }
  return image;
}

// half of a code is easier to read and to type.
const spaced = (code) => code.length > 5 ? `${code.slice(0, code.length / 2)} ${code.slice(code.length / 2)}` : code;

for (const slot of document.querySelectorAll("[data-code]")) {
  const start = slot.querySelector("button");
  const live = slot.querySelector(".live");
  const kept = slot.closest("[data-webhook]");
  let timer, end, until;

  const get = () => slot.dataset.here ? fromHere(slot.dataset.here) : fromWebhook(slot.dataset.service, kept.dataset);

  function stop(message) {
    clearTimeout(timer);
    const had = live.contains(document.activeElement);
    live.replaceChildren();
    live.hidden = !message;
    live.className = "live";
    if (message) live.append(element("span", "quiet", message));
    start.hidden = start.disabled = false;
    if (had) start.focus();
  }

  function fail(problem) {
    stop();
    live.hidden = false;
    live.append(element("span", "error", problem instanceof Failure ? problem.message : "Something went wrong in this page."));
    live.firstChild.setAttribute("role", "alert");
  }

  function build() {
    const code = element("output", "digits");
    const image = ring();
    const seconds = element("span", "seconds");
    seconds.setAttribute("aria-hidden", "true");
    const copy = button("Copy", async () => {
      try { await navigator.clipboard.writeText(code.dataset.value); copy.textContent = "Copied"; } catch { getSelection().selectAllChildren(code); copy.textContent = "Selected"; }
      setTimeout(() => { copy.textContent = "Copy"; }, 3000);
    });
    live.replaceChildren(code, image, seconds, copy, button("Hide", () => stop()));
    live.hidden = false;
    start.hidden = true;
    return { code, circle: image.lastChild, seconds };
  }

  function run(shown, answer) {
    const period = answer.period || 30;
    end = Date.now() + answer.remainingSeconds * 1000;
    shown.code.dataset.value = answer.code;
    shown.code.textContent = spaced(answer.code);
    const left = () => Math.max(0, end - Date.now());
    const offset = (ms) => around * (1 - ms / (period * 1000));
    shown.circle.style.strokeDasharray = around;
    shown.circle.getAnimations().forEach((running) => running.cancel());
    shown.circle.style.strokeDashoffset = offset(left());
    if (!still.matches) {
      shown.circle.animate([{ strokeDashoffset: offset(left()) }, { strokeDashoffset: around }], { duration: left(), fill: "forwards" });
    }
    const tick = () => {
      const rest = Math.ceil(left() / 1000);
      shown.seconds.textContent = `${rest} s`;
      live.classList.toggle("soon", rest <= 5);
      if (still.matches) shown.circle.style.strokeDashoffset = offset(left());
      if (rest > 0) timer = setTimeout(tick, left() % 1000 || 1000);
      else next(shown);
    };
    clearTimeout(timer);
    tick();
  }

  async function next(shown) {
    if (Date.now() > until) { stop("Hidden again."); return; }
    if (document.hidden) { stop("Hidden while you were away."); return; }
    try {
      const answer = await get();
      if (live.contains(shown.code)) run(shown, answer);
    } catch (problem) {
      fail(problem);
    }
  }

  async function show(event) {
    event.preventDefault();
    start.disabled = true;
    live.setAttribute("aria-busy", "true");
    try {
      const answer = await get();
      until = Date.now() + showFor;
      run(build(), answer);
      live.querySelector("button").focus();
    } catch (problem) {
      fail(problem);
    } finally {
      start.disabled = false;
      live.removeAttribute("aria-busy");
    }
  }

  if (start.form) start.form.addEventListener("submit", show);
  else start.addEventListener("click", show);
  start.hidden = false;
  addEventListener("pagehide", () => stop());
}
