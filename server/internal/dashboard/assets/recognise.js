// Names what was pasted, in the browser, by its form alone: which kind of credential it
// is, what it would be called, and whether it fits the type that was chosen. It keeps
// nothing and sends nothing, and is no proof: who made a text can make it look like any
// of these.

// Access tokens that bear their issuer's mark at their beginning: [pattern, whose and
// what, suggested service name].
const marks = [
  [/^github_pat_[A-Za-z0-9_]{22,}$/, "GitHub personal access token (fine-grained)", "github"],
  [/^ghp_[A-Za-z0-9]{30,}$/, "GitHub personal access token (classic)", "github"],
  [/^gh[ou]_[A-Za-z0-9]{30,}$/, "GitHub OAuth access token", "github", "OAuth"],
  [/^ghs_[A-Za-z0-9]{30,}$/, "GitHub App installation token, good for an hour", "github", "OAuth"],
  [/^glpat-[A-Za-z0-9_.-]{20,}$/, "GitLab personal access token", "gitlab"],
  [/^gl(dt|ptt|soat|agent|ft|rt)-[A-Za-z0-9_.-]{20,}$/, "GitLab token", "gitlab"],
  [/^xox[abeprs](\.xox[bp])?-[A-Za-z0-9-]{10,}$/, "Slack token", "slack"],
  [/^xapp-[A-Za-z0-9-]{10,}$/, "Slack app-level token", "slack"],
  [/^sk-ant-[A-Za-z0-9_-]{20,}$/, "Anthropic API key", "anthropic"],
  [/^sk-or-[A-Za-z0-9_-]{20,}$/, "OpenRouter API key", "openrouter"],
  [/^[sr]k_(live|test)_[A-Za-z0-9]{10,}$/, "Stripe API key", "stripe"],
  [/^sk-[A-Za-z0-9_-]{20,}$/, "OpenAI API key", "openai"],
  [/^AIza[A-Za-z0-9_-]{35}$/, "Google API key", "google"],
  [/^ya29\.[A-Za-z0-9_.-]{20,}$/, "Google OAuth access token, good for an hour", "google", "OAuth"],
  [/^npm_[A-Za-z0-9]{36}$/, "npm access token", "npm"],
  [/^pypi-[A-Za-z0-9_-]{40,}$/, "PyPI API token", "pypi"],
  [/^hf_[A-Za-z0-9]{30,}$/, "Hugging Face access token", "huggingface"],
  [/^dckr_pat_[A-Za-z0-9_-]{20,}$/, "Docker personal access token", "docker"],
  [/^do[opr]_v1_[a-f0-9]{64}$/, "DigitalOcean token", "digitalocean"],
  [/^SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{20,}$/, "SendGrid API key", "sendgrid"],
  [/^shp(at|ca|pa|ss)_[a-fA-F0-9]{32}$/, "Shopify access token", "shopify"],
  [/^lin_api_[A-Za-z0-9]{30,}$/, "Linear API key", "linear"],
  [/^ATATT[A-Za-z0-9_=-]{30,}$/, "Atlassian API token", "atlassian"],
  [/^(ntn|secret)_[A-Za-z0-9]{40,}$/, "Notion token", "notion"],
  [/^gsk_[A-Za-z0-9]{40,}$/, "Groq API key", "groq"],
  [/^r8_[A-Za-z0-9]{30,}$/, "Replicate API token", "replicate"],
  [/^figd_[A-Za-z0-9_-]{30,}$/, "Figma personal access token", "figma"],
  [/^tskey-[a-z]+-[A-Za-z0-9-]{10,}$/, "Tailscale key", "tailscale"],
];

// recognise returns {name, service, type, facts, minted, warning} of what it knows, or
// null. type is the token type that it would best be kept as; facts hold nothing secret.
export function recognise(text) {
  const body = text.trim();
  const mark = marks.find(([pattern]) => pattern.test(body));
  if (mark) return { name: mark[1], service: mark[2], type: mark[3] ?? "PlainText", facts: [] };
  if (/^(tcs|tck|tca|tcr|tvagent)_[A-Za-z0-9_-]{40,}$/.test(body)) {
    return { name: "key of Token Vault itself", service: "", type: "PlainText", facts: [], warning: "Whoever has it can act as you or your agent here. A vault does not keep its own keys well: rather make a key where it is needed." };
  }
  return ofJSON(body) ?? ofAWS(body) ?? ofPEM(body) ?? ofKubernetes(body) ?? ofJWT(body) ?? ofURI(body);
}

const raw = (name, service, facts = [], more = {}) => ({ name, service, type: "RawCredential", facts, ...more });

function ofJSON(body) {
  if (!body.startsWith("{")) return null;
  let fields;
  try {
    fields = JSON.parse(body);
  } catch {
    return raw("JSON that is not whole", "", [], { warning: "It begins like JSON, but cannot be read as such: a part may be missing. Copy the whole file." });
  }
  const text = (...names) => names.map((name) => fields[name]).find((value) => typeof value === "string" && value !== "");
  switch (fields.type) {
    case "service_account": return googleAccount(fields, text);
    case "authorized_user": return raw("Google user credentials of the gcloud command", "google", []);
    case "external_account": return raw("Google workload identity configuration", "google", []);
  }
  if (fields.installed || fields.web) return raw("Google OAuth client", "google", []);
  const app = text("app_id", "appId", "client_id") ?? fields.app_id ?? fields.id;
  const key = text("private_key", "privateKey", "pem");
  if (key?.includes("-----BEGIN") && app !== undefined) return raw("GitHub App", "github", [["App", String(app)]]);
  const tenant = text("tenant", "tenantId", "tenant_id");
  if (tenant && text("password", "clientSecret", "client_secret")) {
    return raw("Azure service principal", "azure", [["Client", text("appId", "clientId", "client_id") ?? "not named"], ["Tenant", tenant]]);
  }
  const access = fields.AccessKey ?? fields.Credentials ?? fields;
  if (/^A[KS]IA[A-Z0-9]{16}$/.test(access?.AccessKeyId ?? "")) return awsKeys(access.AccessKeyId, access.SecretAccessKey);
  if (text("access_token")) {
    return { name: "Answer of an OAuth token endpoint", service: "", type: "OAuth", facts: [], warning: "Put its access_token, and its refresh_token if there is one, into the fields of an OAuth token." };
  }
  return raw("JSON of a kind that is not known here", "");
}

function googleAccount(fields, text) {
  const missing = ["client_email", "private_key_id", "private_key", "token_uri"].filter((name) => text(name) === undefined);
  const facts = [["Account", text("client_email") ?? "not named"], ["Project", text("project_id") ?? "not named"]];
  const found = raw("Google service account", "google", facts, { minted: missing.length === 0 });
  if (missing.length > 0) found.warning = `No tokens can be made from it: it lacks ${missing.join(", ")}. Download the key again.`;
  else if (!googleEndpoint(fields.token_uri)) found.warning = "Its token_uri is not an address of Google's. Tokens are made only if whoever keeps it allows that host.";
  return found;
}

function parseURL(text) {
  try { return new URL(text); } catch { return null; }
}

function googleEndpoint(address) {
  const url = parseURL(address);
  return url?.protocol === "https:" && (url.hostname === "accounts.google.com" || url.hostname.endsWith(".googleapis.com"));
}

function ofAWS(body) {
  const id = /\b(A[KS]IA[A-Z0-9]{16})\b/.exec(body)?.[1];
  if (id === undefined) return null;
  const secret = body.replace(id, "").match(/(?<![A-Za-z0-9/+=])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])/)?.[0];
  return awsKeys(id, secret);
}

function awsKeys(id, secret) {
  const found = raw(id.startsWith("ASIA") ? "AWS temporary access key" : "AWS access key pair", "aws", [["Access key", id]]);
  if (!secret) found.warning = "The secret access key is missing: the pair is of no use without it.";
  return found;
}

function ofPEM(body) {
  const label = /-----BEGIN ([A-Z0-9 ]+)-----/.exec(body)?.[1];
  if (label === undefined) return null;
  if (label.includes("CERTIFICATE")) return { name: "Certificate in PEM", service: "", type: "Certificate", facts: [] };
  if (label === "OPENSSH PRIVATE KEY") return { name: "SSH private key", service: "", type: "SSHKey", facts: [] };
  if (label.endsWith("PUBLIC KEY")) return { name: "Public key", service: "", type: "", facts: [], warning: "A public key is no secret, and opens nothing. The private key is the one to keep." };
  if (label === "PGP PRIVATE KEY BLOCK") return raw("PGP private key", "");
  return raw(label === "RSA PRIVATE KEY" ? "RSA private key in PEM, as GitHub Apps have" : "Private key in PEM", "", [], { pem: true });
}

function ofKubernetes(body) {
  if (!/^kind:\s*"?Config"?\s*$/m.test(body) || !/^(clusters|users|contexts):/m.test(body)) return null;
  const server = /^\s*server:\s*"?(https?:\/\/[^\s"]+)/m.exec(body)?.[1];
  const context = /^current-context:\s*"?([^\s"]+)/m.exec(body)?.[1];
  return raw("kubeconfig", "kubernetes", [...(server ? [["Cluster", parseURL(server)?.host ?? server]] : []), ...(context ? [["Context", context]] : [])]);
}

function ofJWT(body) {
  if (!/^eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/.test(body)) return null;
  let claims;
  try {
    const [, payload] = body.split(".");
    const bytes = Uint8Array.from(atob(payload.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    claims = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return { name: "JWT that cannot be read", service: "", type: "JWT", facts: [] };
  }
  const facts = [];
  if (typeof claims?.iss === "string") facts.push(["Issuer", claims.iss]);
  if (typeof claims?.sub === "string") facts.push(["Subject", claims.sub]);
  const expires = Number.isFinite(claims?.exp) ? new Date(claims.exp * 1000) : undefined;
  return { name: "JWT", service: "", type: "JWT", facts, expires: Number.isNaN(expires?.getTime()) ? undefined : expires };
}

function ofURI(body) {
  if (/^otpauth(-migration)?:\/\//i.test(body)) return { name: "Secret for one-time codes", service: "", type: "TOTP", facts: [] };
  return null;
}

const called = {
  PlainText: "API key or access token", OAuth: "OAuth token", JWT: "JWT", TOTP: "One-time codes", SSHKey: "SSH key",
  Certificate: "Certificate", RawCredential: "Raw credential", Bearer: "Bearer token", OpenIDConnect: "OpenID Connect",
};

// Of these types the secret is a token, as it goes into a request.
const tokens = ["PlainText", "OAuth", "JWT", "Bearer", "OpenIDConnect"];

// advise says, of a text for a type, what is recognized and what does not fit:
// [{look, text}], look being "good", "warn" or "info". keeper is who keeps it.
export function advise(type, text, keeper) {
  const found = recognise(text);
  const notes = [];
  const note = (look, line) => notes.push({ look, text: line });
  if (found !== null) {
    const facts = found.facts.map(([name, value]) => `${name}: ${value}`).join(", ");
    note("info", `Recognized: ${found.name}${facts ? ` (${facts})` : ""}.`);
    if (found.warning) note("warn", found.warning);
  }
  if (type === "RawCredential") adviseRaw(found, keeper, note);
  else if (tokens.includes(type)) adviseToken(type, text.trim(), found, note);
  if (found?.expires) note(found.expires < new Date() ? "warn" : "info", found.expires < new Date() ? "It has expired." : "Its expiry is read from it.");
  return notes;
}

function adviseRaw(found, keeper, note) {
  if (found?.minted) note("good", `Agents get access tokens for an hour that ${keeper} makes from it, never the key itself.`);
  else if (found && found.type !== "RawCredential" && found.type !== "") note("warn", `That is better kept as “${called[found.type]}”: of a raw credential, agents get only what can be made from it, and nothing is made from this.`);
  else if (!found?.warning?.startsWith("No tokens")) {
    note("warn", `It can be stored, but nothing can be fetched of it yet, by agents or by you: a raw credential never leaves its vault, and short-lived tokens are made from Google service accounts alone${keeper === "your webhook" ? ", unless your webhook has a minter of its own" : ""}. To hand it out as it is, keep it as “${called.PlainText}”.`);
  }
}

function adviseToken(type, body, found, note) {
  if (/^bearer\s/i.test(body)) note("warn", "It begins with the word “Bearer”, which is no part of the token. Take it away.");
  else if (/^["'].*["']$/s.test(body)) note("warn", "It stands in quotation marks, which are hardly part of it.");
  else if (/^[A-Z][A-Z0-9_]*=/.test(body)) note("warn", "It looks like a line of an environment file. Paste what stands after the “=”.");
  else if (found === null && /\s/.test(body)) note("warn", "It has white space in it, which tokens have not. Was more copied than the token?");
  if (type === "JWT" && found?.type !== "JWT") note("warn", `This is no JWT: those are three parts with dots between, beginning with eyJ. It may be an “${called.PlainText}”.`);
  else if (found?.pem) note("warn", `This is a private key, not a token. Choose “${called.SSHKey}” or “${called.Certificate}”.`);
  else if (found?.type === "RawCredential") note("warn", found.minted ? `Kept as “${called.RawCredential}” it would never leave the vault: agents would get short-lived tokens made from it. Kept like this, they get the whole key.` : "Agents that are granted it get all of it, as it is.");
  else if (found && ["SSHKey", "Certificate", "TOTP"].includes(found.type)) note("warn", `This belongs to the type “${called[found.type]}”. Kept like this, agents get all of it.`);
  else if (type === "OAuth" && found?.type === "PlainText") note("warn", `It does not expire like an OAuth token and cannot be refreshed: “${called.PlainText}” is the type for it.`);
}
