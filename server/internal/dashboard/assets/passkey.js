// Asks the browser for a passkey when a form of data-passkey is sent, and sends the
// form with the answer. Without this script the server says what is missing.
const decode = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const encode = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const withIDs = (list) => list?.map((entry) => ({ ...entry, id: decode(entry.id) }));

class Failure extends Error {}

function creation(options) {
  return {
    ...options, challenge: decode(options.challenge), user: { ...options.user, id: decode(options.user.id) },
    excludeCredentials: withIDs(options.excludeCredentials) ?? [],
  };
}

function request(options) {
  return { ...options, challenge: decode(options.challenge), allowCredentials: withIDs(options.allowCredentials) ?? [] };
}

// The JSON form of a credential, as WebAuthn gives it.
function json(credential) {
  const { response } = credential;
  const answer = { clientDataJSON: encode(response.clientDataJSON) };
  if (response.attestationObject) {
    answer.attestationObject = encode(response.attestationObject);
    answer.transports = response.getTransports?.() ?? [];
  } else {
    answer.authenticatorData = encode(response.authenticatorData);
    answer.signature = encode(response.signature);
    if (response.userHandle) answer.userHandle = encode(response.userHandle);
  }
  return JSON.stringify({
    id: credential.id, rawId: encode(credential.rawId), type: credential.type, response: answer, clientExtensionResults: {},
    authenticatorAttachment: credential.authenticatorAttachment ?? undefined,
  });
}

async function options(form) {
  if (form.dataset.options) return { options: JSON.parse(form.dataset.options), challenge: form.elements.challenge.value };
  let response;
  try {
    response = await fetch(form.dataset.url, { method: "POST", headers: { Accept: "application/json" } });
  } catch {
    throw new Failure("Token Vault could not be reached. Try again.");
  }
  let answer = {};
  try { answer = await response.json(); } catch { /* not ours to read */ }
  if (!response.ok || !answer.options) throw new Failure(answer.detail ?? "Your session has ended, or Token Vault is away. Load this page again.");
  return answer;
}

async function ask(form) {
  if (location.hostname !== form.dataset.host) {
    throw new Failure(`Passkeys of this server belong to ${form.dataset.host}. Open Token Vault under that address.`);
  }
  if (!navigator.credentials || !window.PublicKeyCredential) throw new Failure("This browser has no passkeys. Use your password.");
  const asked = await options(form);
  const making = form.dataset.passkey === "create";
  try {
    const credential = making
      ? await navigator.credentials.create({ publicKey: creation(asked.options) })
      : await navigator.credentials.get({ publicKey: request(asked.options) });
    return { challenge: asked.challenge, credential: json(credential) };
  } catch (error) {
    if (error.name === "InvalidStateError") throw new Failure("This device has a passkey of this account already.");
    if (error.name === "NotAllowedError") throw new Failure("Nothing was chosen, or it took too long. Try again when you are ready.");
    throw new Failure(`The browser refused: ${error.message}`);
  }
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const say = form.querySelector(".say");
  const button = form.querySelector("button");
  let asking = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (asking) return;
    // What was typed into the field of another form that this one needs as well.
    if (form.dataset.copy) {
      const field = document.getElementById(`f-${form.dataset.copy}`);
      if (!field.reportValidity()) return;
      form.elements[form.dataset.copy].value = field.value;
    }
    asking = true;
    button.disabled = true;
    say.classList.remove("error");
    say.textContent = "Follow what your browser asks.";
    try {
      const answer = await ask(form);
      form.elements.challenge.value = answer.challenge;
      form.elements.credential.value = answer.credential;
      say.textContent = "One moment.";
      form.submit();
    } catch (error) {
      say.classList.add("error");
      say.textContent = error instanceof Failure ? error.message : "Something went wrong in this page. Load it again.";
      button.disabled = false;
      asking = false;
    }
  });
}
