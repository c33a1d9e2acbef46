// Stores a token: asks Token Vault for a ticket, posts the secret to the webhook
// itself, then has the list read again. The secret goes to the webhook alone:
// no control that holds one has a name, and none is in a request to this server.
const form = document.getElementById("store");
const result = document.getElementById("result");
const type = document.getElementById("type");
const send = document.getElementById("send");

// A Failure is what a person is told.
class Failure extends Error {}

const webhookSays = {
  already_exists: "There is a token of this name already. Tick the box to replace it, or choose another name.",
  ticket_expired: "The ticket expired before the webhook saw it. Compare the clocks of your webhook and of Token Vault, and try again.",
  ticket_invalid: "The webhook does not accept tickets of this server. Check the webhook in the settings, or bind it again.",
  setup_required: "The webhook is not bound to this server. Bind it again.",
  too_large: "The webhook finds this too large.",
};

async function json(response) {
  try { return await response.json(); } catch { return {}; }
}

async function ours(path, body) {
  let response;
  try {
    response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  } catch {
    throw new Failure("Token Vault could not be reached. Nothing was stored. Try again.");
  }
  const answer = await json(response);
  if (!response.ok) throw new Failure(answer.detail ?? `Token Vault answered ${response.status}.`);
  return answer;
}

async function toWebhook(url, body) {
  let response;
  try {
    response = await fetch(url, {
      method: "POST", mode: "cors", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer", cache: "no-store",
      headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
  } catch {
    throw new Failure(`Your browser could not reach the webhook at ${form.dataset.host}. Is it running, reachable from here, and bound to ${location.origin}? It allows that origin alone.`);
  }
  const answer = await json(response);
  if (!response.ok) throw new Failure(webhookSays[answer.error] ?? `The webhook refused it: ${answer.message ?? response.status}`);
  return answer;
}

const shown = (control) => !control.closest("[hidden]");

function choose() {
  for (const part of form.querySelectorAll("[data-for]")) {
    part.hidden = !part.dataset.for.split(" ").includes(type.value);
    for (const control of part.querySelectorAll("input, textarea")) control.disabled = part.hidden;
  }
}

function tokenData() {
  const data = { tokenType: type.value };
  for (const control of form.querySelectorAll("[data-secret], [data-meta], [data-list], [data-time]")) {
    const { secret, meta, list, by, time } = control.dataset;
    // White space around a pasted secret is never part of it; a passphrase is as it was typed.
    const value = secret === "passphrase" ? control.value : control.value.trim();
    if (!shown(control) && !control.closest("details") || control.disabled || value === "") continue;
    if (secret) data[secret] = value;
    if (meta) data[meta] = value;
    if (list) data[list] = value.split(by ?? /\s+/).map((entry) => entry.trim()).filter(Boolean);
    if (time) data[time] = new Date(value).toISOString();
  }
  return data;
}

function say(look, text, link) {
  result.className = `notice ${look}`;
  const line = document.createElement("p");
  line.append(text);
  if (link) {
    const to = document.createElement("a");
    to.href = link.href;
    to.textContent = link.text;
    line.append(" ", to);
  }
  result.replaceChildren(line);
  result.hidden = false;
  result.focus();
}

function forget() {
  for (const control of form.querySelectorAll("[data-secret]")) control.value = "";
}

async function store() {
  const service = document.getElementById("service").value.trim();
  const mode = document.getElementById("replace").checked ? "overwrite" : "create";
  const { ticket, webhookUrl } = await ours("/api/vault/store-ticket", { serviceName: service, mode });
  if (new URL(webhookUrl).origin !== new URL(form.dataset.webhook).origin) {
    throw new Failure("Another webhook was bound meanwhile. Load this page again.");
  }
  await toWebhook(`${webhookUrl}/v1/store`, { ticket, service, tokenData: tokenData() });
  forget();
  const link = { href: `/token/${encodeURIComponent(service)}`, text: `See ${service}.` };
  try {
    await ours("/api/vault/sync", { serviceName: service });
  } catch (problem) {
    say("warn", `Your webhook has it, but the list here could not be read again: ${problem.message}`, { href: "/", text: "To the list." });
    return;
  }
  say("good", "Stored at your webhook. This server never saw it.", link);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  send.disabled = true;
  result.hidden = true;
  try {
    await store();
  } catch (problem) {
    say("bad", problem instanceof Failure ? problem.message : "Something went wrong in this page. Nothing is known to be stored.");
  } finally {
    send.disabled = false;
  }
});
type.addEventListener("change", choose);
addEventListener("pagehide", forget);
choose();
form.hidden = false;
