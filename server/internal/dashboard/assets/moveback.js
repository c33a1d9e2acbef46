// Brings tokens back from the webhook, one at a time: asks Token Vault for a ticket,
// reads the token at the webhook itself, and posts it to Token Vault, which seals it
// and has the webhook's copy deleted. Interrupted, it goes on when it is started
// again.
const list = document.getElementById("moveback");
const start = document.getElementById("start");

class Failure extends Error {}

async function json(response) {
  try { return await response.json(); } catch { return {}; }
}

async function ours(path, body) {
  let response;
  try {
    response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  } catch {
    throw new Failure("Token Vault could not be reached. Start again.");
  }
  const answer = await json(response);
  if (!response.ok) throw new Failure(answer.detail ?? `Token Vault answered ${response.status}.`);
  return answer;
}

async function read(service) {
  const { ticket, webhookUrl } = await ours("/api/vault/credential-ticket", { serviceName: service, purpose: "user_reveal" });
  if (new URL(webhookUrl).origin !== new URL(list.dataset.webhook).origin) {
    throw new Failure("Another webhook was bound meanwhile. Load this page again.");
  }
  let response;
  try {
    response = await fetch(`${webhookUrl}/v1/credential`, {
      method: "POST", mode: "cors", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer", cache: "no-store",
      headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ticket, service }),
    });
  } catch {
    throw new Failure(`Your browser could not reach the webhook at ${list.dataset.host}. Is it running, reachable from here, and bound to ${location.origin}?`);
  }
  const answer = await json(response);
  if (!response.ok || typeof answer.token !== "object") throw new Failure(`The webhook refused: ${answer.message ?? response.status}`);
  return answer.token;
}

async function move(item) {
  const said = item.querySelector(".said");
  said.textContent = "Moving…";
  try {
    const tokenData = await read(item.dataset.service);
    await ours("/api/vault/move-back", { serviceName: item.dataset.service, tokenData });
    said.textContent = "It is here now.";
    item.dataset.done = "yes";
  } catch (problem) {
    said.textContent = problem instanceof Failure ? problem.message : "Something went wrong in this page.";
  }
}

const left = () => [...list.querySelectorAll("li:not([data-done])")];

function tell(stopped) {
  const all = list.querySelectorAll("li").length;
  const bar = document.getElementById("bar");
  bar.value = all - left().length;
  document.getElementById("said").textContent = `${bar.value} of ${all} moved back.${stopped && left().length > 0 ? " The others say why not." : ""}`;
}

start?.querySelector("button").addEventListener("click", async (event) => {
  event.target.disabled = true;
  for (const item of left()) {
    await move(item);
    tell(false);
  }
  event.target.disabled = false;
  event.target.textContent = "Try the others again";
  start.hidden = left().length === 0;
  tell(true);
});
if (start) start.hidden = false;
