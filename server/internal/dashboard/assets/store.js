// Stores a token at the webhook: asks Token Vault for a ticket, posts the secret to the
// webhook itself, then has Token Vault read the webhook's list. The secret is in the
// second of these requests alone, which goes to the webhook alone. It knows no page.

const patience = 30_000; // milliseconds for an answer

// A Failure is what a person is told; field names the input at fault, if one is.
export class Failure extends Error {
  constructor(message, { field = "", signIn = false } = {}) {
    super(message);
    this.field = field;
    this.signIn = signIn;
  }
}

const webhookSays = {
  already_exists: ["There is a token of this name already. Tick the box to replace it, or choose another name.", "serviceName"],
  ticket_expired: ["The ticket expired before the webhook saw it. Compare the clocks of your webhook and of Token Vault, and try again."],
  ticket_invalid: ["The webhook does not accept tickets of this server. Check the webhook in the settings, or bind it again."],
  setup_required: ["The webhook is not bound to this server. Bind it again."],
  too_large: ["The webhook finds this too large."],
};

async function json(response) {
  try { return await response.json(); } catch { return {}; }
}

async function ours(path, body, nothing) {
  let response;
  try {
    response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal: AbortSignal.timeout(patience) });
  } catch {
    throw new Failure(`Token Vault could not be reached${nothing}. Try again.`);
  }
  const answer = await json(response);
  if (response.status === 401) throw new Failure(`Your session has ended${nothing}.`, { signIn: true });
  if (!response.ok) throw new Failure(answer.detail ?? `Token Vault answered ${response.status}${nothing}.`, { field: answer.field });
  return { status: response.status, answer };
}

async function toWebhook(webhook, body) {
  let response;
  try {
    response = await fetch(`${webhook}/v1/store`, {
      method: "POST", mode: "cors", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer", cache: "no-store",
      headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal: AbortSignal.timeout(patience),
    });
  } catch (problem) {
    const { host } = new URL(webhook);
    if (problem.name === "TimeoutError") throw new Failure(`The webhook at ${host} did not answer in time. It may have stored the token all the same: see the list before you try again.`);
    throw new Failure(`Your browser could not reach the webhook at ${host}. Is it running, reachable from here, and bound to ${location.origin}? It allows that origin alone.`);
  }
  const answer = await json(response);
  if (response.ok) return { status: response.status, answer };
  const [message, field] = webhookSays[answer.error] ?? [];
  if (message) throw new Failure(message, { field });
  const says = typeof answer.message === "string" ? answer.message.slice(0, 400) : `status ${response.status}`;
  throw new Failure(`The webhook refused it: ${says}`, { field: /tokenData\.([A-Za-z]+)/.exec(says)?.[1] });
}

// store does the three steps and calls on(step, state, status) with "ticket", "store" or
// "index", and "begun", "done" or "failed". It returns "" or, when the webhook has the
// token but the list here could not be read again, why. It throws a Failure.
export async function store({ service, mode, tokenData, webhook }, on) {
  const step = async (name, run) => {
    on(name, "begun");
    try {
      const { status, answer } = await run();
      on(name, "done", status);
      return answer;
    } catch (problem) {
      on(name, "failed");
      throw problem;
    }
  };
  const nothing = ": nothing was sent to your webhook";
  const { ticket } = await step("ticket", async () => {
    const got = await ours("/api/vault/store-ticket", { serviceName: service, mode }, nothing);
    if (got.answer.webhookUrl !== webhook) throw new Failure("Another webhook was bound meanwhile: nothing was sent. Load this page again.");
    return got;
  });
  await step("store", () => toWebhook(webhook, { ticket, service, tokenData }));
  try {
    await step("index", () => ours("/api/vault/sync", { serviceName: service }, ""));
  } catch (problem) {
    return problem.message;
  }
  return "";
}
