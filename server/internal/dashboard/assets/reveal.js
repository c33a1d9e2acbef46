// Shows a credential: asks Token Vault for a ticket and fetches from the webhook
// itself. What was shown is taken away after a minute
// and when the page is left.
const box = document.getElementById("secret");
const out = box.querySelector(".shown");
const hide = box.querySelector("[data-hide]");
const showFor = 60_000;
let timer;

class Failure extends Error {}

async function json(response) {
  try { return await response.json(); } catch { return {}; }
}

async function ticketFor(purpose) {
  let response;
  try {
    response = await fetch("/api/vault/credential-ticket", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ serviceName: box.dataset.service, purpose }),
    });
  } catch {
    throw new Failure("Token Vault could not be reached. Try again.");
  }
  const answer = await json(response);
  if (!response.ok) throw new Failure(answer.detail ?? `Token Vault answered ${response.status}.`);
  if (new URL(answer.webhookUrl).origin !== new URL(box.dataset.webhook).origin) {
    throw new Failure("Another webhook was bound meanwhile. Load this page again.");
  }
  return answer;
}

async function fromWebhook(path, { ticket, webhookUrl }) {
  let response;
  try {
    response = await fetch(webhookUrl + path, {
      method: "POST", mode: "cors", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer", cache: "no-store",
      headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ticket, service: box.dataset.service }),
    });
  } catch {
    throw new Failure(`Your browser could not reach the webhook at ${box.dataset.host}. Is it running, reachable from here, and bound to ${location.origin}? It allows that origin alone.`);
  }
  const answer = await json(response);
  if (!response.ok) throw new Failure(`The webhook refused: ${answer.message ?? response.status}`);
  return answer;
}

function element(name, text, look) {
  const made = document.createElement(name);
  made.textContent = text;
  if (look) made.className = look;
  return made;
}

function show(...parts) {
  out.replaceChildren(...parts);
  hide.hidden = parts.length === 0;
  out.focus();
}

function clear() {
  clearInterval(timer);
  out.replaceChildren();
  hide.hidden = true;
}

function until(end, label, done) {
  clearInterval(timer);
  const tick = () => {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left <= 0) { done(); return; }
    label.textContent = `${left} s`;
  };
  timer = setInterval(tick, 250);
  tick();
}

const secretFirst = ["accessToken", "refreshToken", "sshPrivateKey", "certificateData", "privateKeyData", "certificateChain", "passphrase", "password", "clientSecret"];

async function credential() {
  const { token } = await fromWebhook("/v1/credential", await ticketFor("user_reveal"));
  const list = document.createElement("dl");
  for (const name of secretFirst) {
    if (typeof token?.[name] !== "string" || token[name] === "") continue;
    const value = document.createElement("dd");
    const block = document.createElement("pre");
    block.append(element("code", token[name]));
    const copy = element("button", "Copy", "second small");
    copy.type = "button";
    copy.addEventListener("click", async () => {
      try { await navigator.clipboard.writeText(token[name]); copy.textContent = "Copied"; } catch { getSelection().selectAllChildren(block); copy.textContent = "Selected: copy it by hand"; }
    });
    value.append(block, copy);
    list.append(element("dt", name), value);
  }
  if (list.children.length === 0) throw new Failure("The webhook's answer holds no secret field.");
  const left = element("span", "");
  left.setAttribute("aria-hidden", "true");
  const line = element("p", "Hidden again in ", "quiet");
  line.append(left);
  show(list, line);
  until(Date.now() + showFor, left, clear);
}

for (const button of box.querySelectorAll("[data-purpose]")) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    clear();
    try {
      await credential();
    } catch (problem) {
      show(element("p", problem instanceof Failure ? problem.message : "Something went wrong in this page.", "error"));
    } finally {
      button.disabled = false;
    }
  });
}
hide.addEventListener("click", clear);
addEventListener("pagehide", clear);
box.querySelector(".actions").hidden = false;
