// The form for a new token: says what was pasted, checks it before it leaves, reads files
// that are dropped on it, and in webhook mode stores it at the webhook, past this server.
// No control that holds a secret has a name there, and no request to this server has it.

const form = document.getElementById("add");
const { type } = form.dataset;
const webhook = form.dataset.webhook ?? "";
const maxSecret = 256 << 10; // bytes

// module imports one of the page's other scripts, whose names bear hashes.
async function module(name) {
  const link = document.querySelector(`link[data-module="${name}"]`);
  return link ? import(link.href) : undefined;
}

const [recognise, checking, files, pem, totp, onetime, storing] = await Promise.all(["recognise", "checks", "files", "pem", "totp", "onetime", "store"].map(module));
const checks = checking.makeChecks({ recognise, pem, totp }, { type, keeper: webhook ? "your webhook" : "this server" });

const byId = (id) => document.getElementById(id);
const nameOf = (control) => control.dataset.name ?? control.name;
const controls = Array.from(form.querySelectorAll("[data-kind]"));
const secrets = controls.filter((control) => control.dataset.kind === "secret");
const control = (name) => controls.find((one) => nameOf(one) === name);
const label = (one) => one.labels[0].firstChild.textContent.trim();
const live = byId("live"), result = byId("result"), send = byId("send");

// White space around a pasted secret is no part of it; a passphrase is as it was typed.
const valueOf = (one) => (one.dataset.exact === undefined ? one.value.trim() : one.value);

// Errors stand beside their field until it is changed.

function fail(one, message) {
  const field = one.closest(".field"), error = field.querySelector(".error");
  field.classList.toggle("wrong", message !== "");
  error.hidden = message === "";
  error.textContent = message;
  if (message) one.setAttribute("aria-invalid", "true");
  else one.removeAttribute("aria-invalid");
  if (message) one.closest("details")?.setAttribute("open", "");
}

function note(one, notes) {
  const lines = notes.map(({ look, text }) => {
    const line = document.createElement("p");
    line.className = `finding ${look}`;
    line.textContent = text;
    return line;
  });
  byId(`n-${nameOf(one)}`)?.replaceChildren(...lines);
}

// Suggestions fill only what nobody has filled, and give way to another suggestion.

const suggested = new WeakMap();

function suggest(name, text) {
  const one = control(name);
  if (!one || one.value !== "" && one.value !== suggested.get(one) || one.value === "" && !text) return;
  one.value = text ?? "";
  suggested.set(one, one.value);
  if (one.value) fail(one, "");
}

let turn = 0;
const preview = onetime && onetime.startPreview(byId("preview"), totp.code);

// check says of a secret what can be said, and returns whether it may be sent.
async function check(one) {
  const text = valueOf(one), mine = ++turn;
  fail(one, "");
  if (text === "") {
    note(one, []);
    preview?.(null);
    return "";
  }
  if (new TextEncoder().encode(text).length > maxSecret) {
    fail(one, `This is longer than ${maxSecret >> 10} KiB.`);
    return "too long";
  }
  const run = checks[one.dataset.check];
  if (!run) return "";
  const found = await run(text, { certificateData: control("certificateData")?.value.trim() });
  if (valueOf(one) !== text) return "changed";
  fail(one, found.error ?? "");
  note(one, found.notes);
  if (one.dataset.check === "totp") preview(found.key ?? null);
  if (mine === turn && !found.error) {
    suggest("serviceName", found.suggest?.service);
    suggest("displayName", found.suggest?.display);
    suggest("expiresAt", found.suggest?.expires?.toISOString().slice(0, 16));
  }
  return found.error ?? "";
}

function tellLive() {
  if (secrets.some((one) => one.value !== "")) live.textContent = "What you entered is in this page alone. Nothing was sent yet.";
  else live.textContent = "Nothing was sent yet.";
}

for (const one of controls) {
  one.addEventListener("input", () => {
    if (one.dataset.kind !== "secret") {
      fail(one, "");
      return;
    }
    tellLive();
    check(one);
    const key = control("privateKeyData");
    if (nameOf(one) === "certificateData" && key?.value) check(key);
  });
}

// put fills a field as if it had been typed.
function put(one, text) {
  one.value = text;
  one.dispatchEvent(new Event("input", { bubbles: true }));
}

// Files.

async function readFile(one, file) {
  const { text, error } = await files.readText(file, ["certificate", "chain"].includes(one.dataset.check) ? pem : undefined);
  if (error) fail(one, error);
  else put(one, text);
}

for (const one of secrets) {
  const chooser = byId(`c-${nameOf(one)}`);
  chooser?.addEventListener("change", () => {
    const [file] = chooser.files;
    if (file) readFile(one, file);
    chooser.value = "";
  });
  const field = one.closest(".field");
  field.addEventListener("dragover", () => field.classList.add("over"));
  field.addEventListener("dragleave", () => field.classList.remove("over"));
  field.addEventListener("drop", (event) => {
    field.classList.remove("over");
    const [file] = event.dataTransfer?.files ?? [];
    if (!file) return;
    if (file.type.startsWith("image/") && one.dataset.check === "totp") qr.open(file);
    else readFile(one, file);
  });
}
// A file that misses its field must not take the place of this page.
for (const name of ["dragover", "drop"]) {
  addEventListener(name, (event) => {
    if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
  });
}

const qr = onetime && onetime.startQR(byId("qr"), async (text) => {
  let refusal = "";
  try {
    totp.parse(text);
  } catch (problem) {
    refusal = text.trim().toLowerCase().startsWith("otpauth") ? `The QR code was read, but its key cannot be used: the ${problem.field} ${problem.problem}.` : "The QR code was read, but holds something else than a secret for one-time codes.";
  }
  if (!refusal) put(control("totpSecret"), text);
  return refusal;
});

// forget takes away what is secret: when it is stored, and when the page is left, which
// browsers may keep in memory.
function forget() {
  for (const one of secrets) {
    one.value = "";
    note(one, []);
  }
  preview?.(null);
  qr?.stop();
}
addEventListener("pagehide", forget);
addEventListener("pageshow", (event) => { if (event.persisted) tellLive(); });

// Sending.

function missing(one) {
  if (one.required && valueOf(one) === "") return `“${label(one)}” is needed.`;
  if (one.validity.patternMismatch) return "Names begin with a letter or digit, and have letters, digits, spaces and . _ : @ - in them.";
  if (nameOf(one) === "serviceName" && ["audit-log", "bulk"].includes(valueOf(one))) return "This name is taken by Token Vault itself. Choose another.";
  if (one.validity.badInput) return "This is no date and time.";
  return "";
}

// ready marks what is wrong and returns whether nothing is.
async function ready() {
  let first = null;
  for (const one of controls) {
    const problem = missing(one);
    if (problem) fail(one, problem);
    else if (one.dataset.kind !== "secret" || !(await check(one))) continue;
    first ??= one;
  }
  first?.focus();
  return first === null;
}

function tokenData() {
  const data = { tokenType: type };
  for (const one of controls) {
    const value = valueOf(one), name = nameOf(one), { kind } = one.dataset;
    if (value === "" || name === "serviceName") continue;
    if (kind === "list") data[name] = value.split("commas" in one.dataset ? "," : /\s+/).map((entry) => entry.trim()).filter(Boolean);
    else data[name] = kind === "time" ? new Date(`${value}Z`).toISOString() : value;
  }
  return data;
}

function say(look, text, links = []) {
  const box = document.createElement("div"), line = document.createElement("p");
  box.className = `notice ${look}`;
  line.append(text);
  for (const { href, text: words, apart, then = "" } of links) {
    const to = document.createElement("a");
    to.href = href;
    to.textContent = words;
    if (apart) [to.target, to.rel] = ["_blank", "noopener"];
    line.append(" ", to, then);
  }
  box.append(line);
  result.replaceChildren(box);
}

const host = form.dataset.host;
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const progress = {
  ticket: "Asking this server for a ticket…", store: `Sending the secret to ${host}…`, index: "Having the list read again…",
};

function onStep(step, state, status) {
  const item = byId(`step-${step}`);
  item.dataset.state = state;
  const words = { begun: "under way…", failed: "failed", done: `${status}, ${clock.format(new Date())}` };
  item.querySelector(".said").textContent = words[state];
  if (state === "begun") say("info", progress[step]);
  if (step === "store") live.textContent = state === "begun" ? progress.store : state === "done" ? `The secret was sent to ${host}, and nowhere else. It answered ${status}.` : `${host} has not taken it. What you entered is still in this page.`;
}

function showFailure(problem) {
  if (!storing || !(problem instanceof storing.Failure)) {
    say("bad", "Something went wrong in this page. Nothing is known to be stored.");
    return;
  }
  const one = control(problem.field);
  if (!one) {
    say("bad", problem.message, problem.signIn ? [{ href: "/login", text: "Sign in in another tab,", apart: true, then: " and store again: what you entered is still here." }] : []);
    result.focus();
    return;
  }
  fail(one, problem.message.replaceAll(`tokenData.${problem.field}`, `“${label(one)}”`));
  say("bad", "Nothing was stored. See what is marked above.");
  one.focus();
}

async function store() {
  for (const item of document.querySelectorAll("#steps [data-state]")) {
    delete item.dataset.state;
    item.querySelector(".said").textContent = "";
  }
  const service = valueOf(control("serviceName"));
  const mode = byId("replace").checked ? "overwrite" : "create";
  const unread = await storing.store({ service, mode, tokenData: tokenData(), webhook }, onStep);
  forget();
  const see = { href: `/token/${encodeURIComponent(service)}`, text: `See ${service}.` };
  if (unread) say("warn", `Your webhook has it, but the list here could not be read again: ${unread}`, [{ href: "/", text: "To the list." }]);
  else say("good", "Stored at your webhook. This server never saw it.", [see, { href: "/tokens/new", text: "Add another." }]);
  result.focus();
}

let busy = false, checked = false;
form.noValidate = true;
form.addEventListener("submit", async (event) => {
  if (checked) return; // on its way to this server, by platform mode
  event.preventDefault();
  if (busy) return;
  busy = true;
  form.setAttribute("aria-busy", "true");
  let sent = false;
  result.replaceChildren();
  try {
    if (!(await ready())) return;
    if (webhook) await store();
    else {
      await new Promise((done) => { setTimeout(done); }); // a form is not sent while it is being sent
      checked = sent = true;
      live.textContent = "Sending it to this server…";
      form.requestSubmit(send);
    }
  } catch (problem) {
    showFailure(problem);
  } finally {
    busy = checked = false;
    if (!sent) form.removeAttribute("aria-busy");
  }
});
send.disabled = false;
for (const one of secrets) if (one.value) check(one); // which was typed before this script ran
