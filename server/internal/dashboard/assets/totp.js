// One-time codes in the browser (RFC 6238): what the server's package totp reads, this
// reads, refuses for the same field in the same words, and makes the same codes of. A
// test holds the two against each other. It keeps nothing and sends nothing.

const minSecret = 10, maxSecret = 128, maxInput = 4096, maxName = 256; // bytes
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const hashes = { SHA1: "SHA-1", SHA256: "SHA-256", SHA512: "SHA-512" };

// A FieldError says which field of a key is wrong, and how. It never holds the secret.
export class FieldError extends Error {
  constructor(field, problem) {
    super(`${field} ${problem}`);
    this.field = field;
    this.problem = problem;
  }
}

function refuse(field, problem) { throw new FieldError(field, problem); }

// parse reads what people paste: an otpauth:// URI, or a Base32 secret (then SHA-1,
// 6 digits, 30 s). It returns {secret, bytes, algorithm, digits, period, issuer, account}.
export function parse(text) {
  return text.includes(":") ? parseURI(text) : newKey(text, {});
}

// code returns the code that is current at a time in milliseconds, and for how many
// milliseconds it still is: {value, remaining}. It needs crypto.subtle, which browsers
// give to pages that came by https, or from this machine.
export async function code(key, at) {
  const period = key.period * 1000;
  const message = new DataView(new ArrayBuffer(8));
  message.setBigUint64(0, BigInt(Math.floor(at / period)));
  const hmac = await crypto.subtle.importKey("raw", key.bytes, { name: "HMAC", hash: hashes[key.algorithm] }, false, ["sign"]);
  const mac = new DataView(await crypto.subtle.sign("HMAC", hmac, message));
  const number = mac.getUint32(mac.getUint8(mac.byteLength - 1) & 15) & 0x7fffffff; // RFC 4226 section 5.3
  return { value: String(number % 10 ** key.digits).padStart(key.digits, "0"), remaining: period - (at % period) };
}

// White space as Unicode has it, which is not quite what JavaScript's trim takes away.
const space = "\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const spacesAround = new RegExp(`^[${space}]+|[${space}]+$`, "gu");
const spacesAndDashes = new RegExp(`[${space}\\p{Pd}]`, "gu");

const trim = (text) => text.replace(spacesAround, "");
const lower = (text) => text.replaceAll("İ", "i").toLowerCase();

// Bytes that are not UTF-8 stand in a string as lone surrogates: see decodeUTF8.
function byteLength(text) {
  let n = 0;
  for (const c of text) {
    const point = c.codePointAt(0);
    n += point < 0x80 || point >= 0xdc80 && point < 0xdd00 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
  }
  return n;
}

function newKey(text, { algorithm = "SHA1", digits = 6, period = 30, issuer = "", account = "" }) {
  const bytes = decodeSecret(text);
  if (!Object.hasOwn(hashes, algorithm)) refuse("algorithm", "is none of SHA1, SHA256 and SHA512");
  if (digits < 6 || digits > 8) refuse("digits", "is not 6 to 8");
  if (period < 15 || period > 120) refuse("period", "is not 15 to 120 whole seconds");
  checkName("issuer", issuer);
  checkName("account", account);
  // A label is issuer:account, so that only an account after an issuer may have a colon.
  if (issuer.includes(":")) refuse("issuer", "has a colon");
  if (issuer === "" && account.includes(":")) refuse("account", "has a colon, but there is no issuer");
  return { secret: encodeSecret(bytes), bytes, algorithm, digits, period, issuer, account };
}

function checkName(field, name) {
  if (byteLength(name) > maxName) refuse(field, `is longer than ${maxName} bytes`);
  if (!name.isWellFormed()) refuse(field, "is not UTF-8");
  if (/\p{Cc}/u.test(name)) refuse(field, "has a control character");
}

function decodeSecret(text) {
  if (byteLength(text) > maxInput) refuse("secret", `is longer than ${maxSecret} bytes`);
  const characters = text.replace(spacesAndDashes, "");
  const body = characters.replace(/=+$/, "");
  const padding = characters.length - body.length;
  if (body === "") refuse("secret", "is missing");
  if (padding > 6 || padding > 0 && byteLength(characters) % 8 !== 0) refuse("secret", "has the wrong number of = at its end");
  if (/[^A-Za-z2-7]/.test(body)) refuse("secret", "has a character that is not Base32 (A to Z, 2 to 7)");
  if ([1, 3, 6].includes(body.length % 8)) {
    refuse("secret", "has a length that Base32 cannot have: a character is missing or too many");
  }
  const bytes = new Uint8Array(Math.floor(body.length * 5 / 8));
  let bits = 0, held = 0, at = 0;
  for (const c of body.toUpperCase()) {
    held = held << 5 | alphabet.indexOf(c);
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes[at++] = held >> bits;
      held &= (1 << bits) - 1;
    }
  }
  if (bytes.length < minSecret) refuse("secret", `has ${8 * bytes.length} bits, and at least ${8 * minSecret} are needed`);
  if (bytes.length > maxSecret) refuse("secret", `is longer than ${maxSecret} bytes`);
  return bytes;
}

// encodeSecret gives a secret its one spelling: upper case, no padding, bits left over zero.
function encodeSecret(bytes) {
  let text = "", bits = 0, held = 0;
  for (const byte of bytes) {
    held = held << 8 | byte;
    for (bits += 8; bits >= 5; bits -= 5) text += alphabet[held >> bits - 5 & 31];
    held &= (1 << bits) - 1;
  }
  return bits > 0 ? text + alphabet[held << 5 - bits & 31] : text;
}

function parseURI(text) {
  const uri = parseOTPAuth(trim(text));
  const params = parameters(uri.query);
  const label = splitLabel(uri.path.replace(/^\//, ""), params.get("issuer") ?? "");
  return newKey(params.get("secret"), {
    algorithm: params.get("algorithm")?.toUpperCase(), digits: number(params, "digits"), period: number(params, "period"), ...label,
  });
}

// parseOTPAuth checks everything before the question mark.
function parseOTPAuth(text) {
  if (byteLength(text) > maxInput) refuse("uri", `is longer than ${maxInput} bytes`);
  const uri = splitURI(text);
  if (uri === null) refuse("uri", "is not a URI");
  if (uri.scheme === "otpauth-migration") refuse("uri", "is an export of several keys; export or show the one key as otpauth://");
  if (uri.scheme !== "otpauth") refuse("uri", "does not begin with otpauth://");
  if (uri.opaque || uri.user || uri.fragment) refuse("uri", "is not of the form otpauth://totp/label?secret=…");
  if (uri.host.toLowerCase() === "hotp") refuse("type", "is hotp; counter-based codes are not supported, only time-based ones");
  if (uri.host.toLowerCase() !== "totp") refuse("type", "is not totp");
  return uri;
}

// splitURI takes a URI apart as RFC 3986 has it, or returns null. Browsers' own URL
// makes something of nearly everything, which is what must not be here. What is in
// brackets is an address, not a type: null.
function splitURI(text) {
  const [before, ...after] = text.split("#");
  const fragment = unescape(after.join("#"));
  const scheme = /^[A-Za-z][A-Za-z0-9+.-]*(?=:)/.exec(before)?.[0] ?? "";
  if (fragment === null || /[\u0000-\u001f\u007f]/.test(before) || before.startsWith(":")) return null;
  const [hierarchy, ...queries] = before.slice(scheme === "" ? 0 : scheme.length + 1).split("?");
  const uri = { scheme: scheme.toLowerCase(), opaque: "", user: false, host: "", path: "", fragment, query: queries.join("?") };
  if (!hierarchy.startsWith("/") && scheme !== "") return { ...uri, opaque: hierarchy };
  if (scheme === "" && hierarchy.split("/")[0].includes(":")) return null;
  let path = hierarchy;
  if (hierarchy.startsWith("//") && !(scheme === "" && hierarchy.startsWith("///"))) {
    const [authority, ...rest] = hierarchy.slice(2).split("/");
    path = rest.length > 0 ? `/${rest.join("/")}` : "";
    const at = authority.lastIndexOf("@");
    uri.user = at >= 0;
    uri.host = authority.slice(at + 1);
    const escapes = uri.host.match(/%(?![89A-Fa-f][0-9A-Fa-f]|25)/);
    if (at >= 0 && (!/^[A-Za-z0-9\-._:~!$&'()*+,;=%@]*$/.test(authority.slice(0, at)) || unescape(authority.slice(0, at)) === null)) return null;
    if (escapes || /[^A-Za-z0-9\-_.~!$&'()*+,;=:<>"%\]\u0080-\u{10ffff}]/u.test(uri.host) || !/^[^:]*$|:[0-9]*$/.test(uri.host)) return null;
  }
  uri.path = unescape(path);
  return uri.path === null ? null : uri;
}

// unescape undoes percent-encoding; null: it is malformed. A byte that is no part of
// UTF-8 becomes a lone surrogate, U+DC00 and the byte, so that it is still known as such.
function unescape(text, plus = "+") {
  if (/%(?![0-9A-Fa-f]{2})/.test(text)) return null;
  return text.replaceAll("+", plus).replace(/(?:%[0-9A-Fa-f]{2})+/g, (escapes) => decodeUTF8(Uint8Array.from(escapes.slice(1).split("%"), (hex) => parseInt(hex, 16))));
}

function decodeUTF8(bytes) {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const size = bytes[at] < 0xc0 ? 1 : bytes[at] < 0xe0 ? 2 : bytes[at] < 0xf0 ? 3 : 4;
    try {
      text += decoder.decode(bytes.subarray(at, at + size));
      at += size;
    } catch {
      text += String.fromCharCode(0xdc00 + bytes[at++]);
    }
  }
  return text;
}

// parameters reads a query into its parameters by lower-case name: one value each, and
// none empty of those that would otherwise get a default.
function parameters(query) {
  const params = new Map();
  let malformed = false, twice = null;
  for (const part of query.split("&")) {
    if (part === "") continue;
    const [name, ...value] = part.split("=").map((side) => unescape(side, " "));
    if (part.includes(";") || name === null || value.includes(null)) {
      malformed = true;
      continue;
    }
    if (params.has(lower(name))) twice ??= lower(name);
    params.set(lower(name), value.join("="));
  }
  if (malformed) refuse("query", "is malformed");
  if (twice !== null) {
    // The name of another is input, and may be a secret gone astray.
    if (["secret", "issuer", "algorithm", "digits", "period", "encoder"].includes(twice)) refuse(twice, "is given more than once");
    refuse("query", "has a parameter more than once");
  }
  for (const name of ["secret", "algorithm", "digits", "period"]) if (params.get(name) === "") refuse(name, "is empty");
  if (params.get("encoder")) refuse("encoder", "is not supported; only decimal codes are");
  if (!params.has("secret")) refuse("secret", "is missing");
  return params;
}

function number(params, name) {
  const text = params.get(name);
  if (text === undefined) return undefined;
  if (!/^[1-9][0-9]{0,2}$/.test(text)) refuse(name, "is not a whole number in range");
  return Number(text);
}

// splitLabel splits "issuer:account" (or "account"). An issuer parameter goes before
// the label's, as authenticators have it.
function splitLabel(text, issuer) {
  const colon = text.indexOf(":");
  const account = text.slice(colon + 1);
  const before = colon < 0 ? "" : text.slice(0, colon);
  return { issuer: trim(trim(issuer) === "" ? before : issuer), account: trim(account) };
}
