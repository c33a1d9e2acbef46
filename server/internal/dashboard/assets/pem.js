// Reads certificates and private keys in the browser, so that a wrong file is named
// before anything is sent: what it is, until when it is good, whether key and
// certificate belong together. It keeps nothing and sends nothing. Whoever stores the
// secret checks it again.

const maxText = 64 << 10; // bytes of one certificate, chain or key, as whoever stores it has it
const maxCertificates = 16;

// A Refusal says why something would not be stored, and what to do.
export class Refusal extends Error {}

function refuse(text) { throw new Refusal(text); }

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const base64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));

function fromBase64(text) {
  const body = text.replace(/[\t\n\r ]/g, "");
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(body) || body.length % 4 !== 0) return null;
  return Uint8Array.from(atob(body), (c) => c.charCodeAt(0));
}

// certificate reads one certificate or several, the first being the one meant: PEM, or
// base64 of DER. It returns {subject, issuer, from, until, key, public, count}.
export function certificate(text) {
  limit(text);
  const list = certificates(text);
  if (list.length > maxCertificates) refuse(`There are more than ${maxCertificates} certificates in it.`);
  const [first] = list.map((der) => {
    try {
      return readCertificate(der);
    } catch {
      return refuse("This certificate cannot be read: a part of it may be missing. Copy the whole file.");
    }
  });
  return { ...first, count: list.length };
}

function certificates(text) {
  if (!text.includes("-----BEGIN")) {
    const der = fromBase64(text);
    return der?.[0] === 0x30 ? [der] : refuse("This is no certificate in PEM: it should begin with -----BEGIN CERTIFICATE-----.");
  }
  const { blocks, after } = pemBlocks(text);
  if (blocks.some(({ label }) => label.includes("PRIVATE KEY"))) {
    refuse("A private key is in it. Put that into the field for the private key, and the certificates alone here.");
  }
  const other = blocks.find(({ label }) => label !== "CERTIFICATE");
  if (other?.label.endsWith("CERTIFICATE REQUEST")) refuse("This is a request for a certificate, not the certificate. Use the one that was issued for it.");
  if (other) refuse(`This is PEM, but no certificate: ${other.label}.`);
  if (after.trim() !== "") refuse("There is other text after the certificate. Take it away.");
  return blocks.map(({ der }) => der);
}

// privateKey reads a private key in PEM and returns {kind, encrypted, public}; public is
// null where it is not known. It may be compared with that of a certificate.
export async function privateKey(text) {
  limit(text);
  const block = keyBlock(text, "a private key");
  if (block.label === "OPENSSH PRIVATE KEY") refuse("This is a key of OpenSSH's own format. Convert a copy: ssh-keygen -p -m PKCS8 -f COPY.");
  if (block.encrypted) return { kind: "", encrypted: true, public: null };
  const key = openKey(block);
  return { ...key, encrypted: false, public: (await derive(key)) ?? key.public };
}

// sshKey reads a private key as OpenSSH and OpenSSL write it, and returns {kind,
// encrypted, comment, fingerprint}; fingerprint is "" where it is not known.
export async function sshKey(text) {
  limit(text);
  const trimmed = text.trim();
  if (/^(ssh-(rsa|dss|ed25519)|ecdsa-sha2-\S+|sk-\S+) AAAA/.test(trimmed) || /BEGIN (SSH2 |RSA )?PUBLIC KEY/.test(trimmed)) {
    refuse("This is a public key, which may be known to all. The private key is in the file of the same name without .pub.");
  }
  if (trimmed.startsWith("PuTTY-User-Key-File")) refuse("This is a key of PuTTY. Convert a copy to OpenSSH's format: puttygen KEY.ppk -O private-openssh -o COPY.");
  const block = keyBlock(text, "an SSH key");
  if (block.label === "ENCRYPTED PRIVATE KEY") refuse("OpenSSH's format is needed for a key with a passphrase. Convert a copy: ssh-keygen -p -f COPY.");
  if (block.label === "OPENSSH PRIVATE KEY") return openSSH(block.der);
  if (block.encrypted) return { kind: "", encrypted: true, comment: "", fingerprint: "" };
  const key = openKey(block);
  const blob = sshBlob((await derive(key)) ?? key.public);
  return { kind: key.kind, encrypted: false, comment: "", fingerprint: blob === null ? "" : await fingerprint(blob) };
}

function limit(text) {
  if (new TextEncoder().encode(text).length > maxText) refuse(`This is longer than ${maxText >> 10} KiB: no certificate or key is.`);
}

// pemBlocks reads PEM (RFC 7468): {blocks: [{label, der, encrypted}], after: text}.
function pemBlocks(text) {
  const blocks = [];
  const pattern = /-----BEGIN ([A-Z0-9 ]+)-----[ \t]*\r?\n([^-]*(?:-(?!----END)[^-]*)*)-----END \1-----[ \t]*/g;
  let end = 0;
  for (const [all, label, body] of text.matchAll(pattern)) {
    end = text.indexOf(all, end) + all.length;
    const [, headers, base] = /^((?:[A-Za-z-]+:[^\n]*\n)*)\s*([^]*)$/.exec(body);
    const der = fromBase64(base);
    if (der === null) refuse("It is damaged between -----BEGIN and -----END: these lines are no base64. Copy the whole file again.");
    blocks.push({ label, der, encrypted: label === "ENCRYPTED PRIVATE KEY" || /Proc-Type:.*ENCRYPTED/.test(headers) });
  }
  if (blocks.length === 0) {
    if (/\\n/.test(text)) refuse("Its line breaks are written as \\n. Paste it with real line breaks, as it is in its file.");
    if (/-----BEGIN [A-Z0-9 ]+-----[ \t]*\S/.test(text)) refuse("Its line breaks are lost. Paste it as it is in its file, or choose the file.");
    refuse("Its end is missing: it should end with a line -----END …-----. Copy the whole file.");
  }
  return { blocks, after: text.slice(end) };
}

function keyBlock(text, what) {
  if (!text.includes("-----BEGIN")) refuse(`This is not ${what} in PEM: it should begin with a line -----BEGIN … PRIVATE KEY-----.`);
  const { blocks, after } = pemBlocks(text);
  if (blocks[0].label === "EC PARAMETERS") blocks.shift(); // which an EC key may come with
  const [block] = blocks;
  if (block === undefined) refuse("The private key is missing after its parameters.");
  if (block.label.includes("CERTIFICATE")) refuse(`This is a certificate, not ${what}.`);
  if (block.label.endsWith("PUBLIC KEY")) refuse("This is a public key. The private key is needed.");
  const known = ["PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "DSA PRIVATE KEY"];
  if (!known.includes(block.label)) refuse(`This is PEM, but not ${what}: ${block.label}.`);
  if (blocks.length > 1 || after.trim() !== "") refuse("There is more than one key in it, or other text after it. Put the key alone here.");
  return block;
}

// DER (X.690): an element is {tag, body, all}.

function element(bytes, at) {
  const tag = bytes[at];
  let length = bytes[at + 1], start = at + 2;
  if (length > 0x80) {
    const size = length & 0x7f;
    if (size > 4) throw new RangeError("DER");
    length = 0;
    for (; start < at + 2 + size; start++) length = length * 256 + bytes[start];
  }
  if (!(start + length <= bytes.length)) throw new RangeError("DER");
  return { tag, body: bytes.subarray(start, start + length), all: bytes.subarray(at, start + length) };
}

function children(bytes) {
  const list = [];
  for (let at = 0; at < bytes.length; at += list.at(-1).all.length) list.push(element(bytes, at));
  return list;
}

function sequence(bytes, tag = 0x30) {
  const outer = element(bytes, 0);
  if (outer.tag !== tag) throw new RangeError("DER");
  return children(outer.body);
}

function oid({ tag, body }) {
  if (tag !== 0x06) throw new RangeError("DER");
  const numbers = [Math.floor(body[0] / 40), body[0] % 40];
  for (let at = 1, n = 0; at < body.length; at++) {
    n = n * 128 + (body[at] & 0x7f);
    if (body[at] < 0x80) {
      numbers.push(n);
      n = 0;
    }
  }
  return numbers.join(".");
}

// An integer without the zeros before it, in hexadecimal.
const integer = ({ body }) => hex(body).replace(/^(00)+(?=..)/, "");

const rsaOID = "1.2.840.113549.1.1.1", ecOID = "1.2.840.10045.2.1", ed25519OID = "1.3.101.112";
const curves = {
  "1.2.840.10045.3.1.7": { name: "P-256", ssh: "nistp256", size: 32 },
  "1.3.132.0.34": { name: "P-384", ssh: "nistp384", size: 48 },
  "1.3.132.0.35": { name: "P-521", ssh: "nistp521", size: 66 },
};

// A public key that can be compared: {kind, text}, and for RSA n and e in hexadecimal.
const rsaPublic = (n, e) => ({ type: "rsa", n, e, text: `rsa ${n} ${e}` });
const ecPublic = (curve, point) => ({ type: "ec", curve, point, text: `ec ${curve} ${point}` });
const edPublic = (point) => ({ type: "ed25519", point, text: `ed25519 ${point}` });

const bitsOf = (n) => (n.length - 1) * 4 + parseInt(n[0], 16).toString(2).length;
const rsaKind = (n) => `RSA, ${bitsOf(n)} bits`;
const ecKind = (curve) => `ECDSA, ${curves[curve]?.name ?? "another curve"}`;

function publicInfo(spki) {
  const [algorithm, bits] = children(spki);
  const [id, parameters] = children(algorithm.body);
  const point = hex(bits.body.subarray(1));
  switch (oid(id)) {
    case rsaOID: {
      const [n, e] = sequence(bits.body.subarray(1)).map(integer);
      return { key: rsaKind(n), public: rsaPublic(n, e) };
    }
    case ecOID: return { key: ecKind(oid(parameters)), public: ecPublic(oid(parameters), point) };
    case ed25519OID: return { key: "Ed25519", public: edPublic(point) };
  }
  return { key: "of another kind", public: null };
}

function readCertificate(der) {
  const fields = children(sequence(der)[0].body);
  if (fields[0].tag === 0xa0) fields.shift(); // the version
  const [, , issuer, validity, subject, spki, ...rest] = fields;
  const [from, until] = children(validity.body).map(readTime);
  return { subject: nameOf(subject) || alternativeName(rest) || "nobody", issuer: nameOf(issuer), from, until, ...publicInfo(spki.body) };
}

// nameOf is the common name, or else the organization.
function nameOf({ body }) {
  const names = new Map();
  for (const set of children(body)) {
    for (const pair of children(set.body)) {
      const [id, value] = children(pair.body);
      if (!names.has(oid(id))) names.set(oid(id), new TextDecoder(value.tag === 0x1e ? "utf-16be" : "utf-8").decode(value.body));
    }
  }
  return names.get("2.5.4.3") ?? names.get("2.5.4.10") ?? "";
}

// alternativeName is the first DNS name of the extension for them (RFC 5280 section 4.2.1.6).
function alternativeName(rest) {
  const extensions = rest.find(({ tag }) => tag === 0xa3);
  for (const { body } of extensions ? sequence(extensions.body) : []) {
    const parts = children(body);
    if (oid(parts[0]) !== "2.5.29.17") continue;
    const dns = sequence(parts.at(-1).body).find(({ tag }) => tag === 0x82);
    if (dns) return new TextDecoder().decode(dns.body);
  }
  return "";
}

function readTime({ tag, body }) {
  const digits = new TextDecoder().decode(body);
  const year = tag === 0x17 ? `${digits.slice(0, 2) < "50" ? "20" : "19"}${digits.slice(0, 2)}` : digits.slice(0, 4);
  const [, month, day, hour, minute, second] = /^(..)(..)(..)(..)(..)Z$/.exec(digits.slice(tag === 0x17 ? 2 : 4));
  const time = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  if (Number.isNaN(time.getTime())) throw new RangeError("DER");
  return time;
}

// openKey reads an unencrypted key: {kind, public, pkcs8}. public is null where the
// key does not say it.
function openKey({ label, der }) {
  try {
    if (label === "DSA PRIVATE KEY") return { kind: "DSA", public: null, pkcs8: null };
    if (label === "RSA PRIVATE KEY") return { ...readRSA(der), pkcs8: wrap(rsaPrefix, der) };
    if (label === "EC PRIVATE KEY") return readEC(der, null);
    const [, algorithm, key] = sequence(der);
    const [id, parameters] = children(algorithm.body);
    switch (oid(id)) {
      case rsaOID: return { ...readRSA(key.body), pkcs8: der };
      case ecOID: return { ...readEC(key.body, oid(parameters)), pkcs8: der };
      case ed25519OID: return { kind: "Ed25519", type: "ed25519", public: null, pkcs8: der };
    }
  } catch {
    refuse("This private key cannot be read: a part of it may be missing. Copy the whole file.");
  }
  return refuse("This is a private key of a kind that cannot be used here: RSA, ECDSA and Ed25519 can.");
}

function readRSA(der) {
  const [, n, e] = sequence(der).map(integer);
  return { kind: rsaKind(n), type: "rsa", public: rsaPublic(n, e) };
}

function readEC(der, curve) {
  const [, , ...rest] = sequence(der);
  const named = rest.find(({ tag }) => tag === 0xa0), point = rest.find(({ tag }) => tag === 0xa1);
  const id = curve ?? oid(element(named.body, 0));
  const algorithm = tlv(0x30, [...objectID(ecOID), ...objectID(id)]);
  return {
    kind: ecKind(id), type: "ec", curve: id, pkcs8: wrap(algorithm, der),
    public: point ? ecPublic(id, hex(element(point.body, 0).body.subarray(1))) : null,
  };
}

// Writing DER, as much as a PKCS #8 wrapper needs.

function tlv(tag, body) {
  const n = body.length;
  const length = n < 0x80 ? [n] : n < 0x100 ? [0x81, n] : [0x82, n >> 8, n & 0xff];
  return [tag, ...length, ...body];
}

function objectID(id) {
  const [first, second, ...rest] = id.split(".").map(Number);
  const body = [first * 40 + second];
  for (const number of rest) {
    const digits = [number & 0x7f];
    for (let n = number >> 7; n > 0; n >>= 7) digits.unshift(n & 0x7f | 0x80);
    body.push(...digits);
  }
  return tlv(0x06, body);
}

const rsaPrefix = tlv(0x30, [...objectID(rsaOID), 0x05, 0x00]);

const wrap = (algorithm, key) => Uint8Array.from(tlv(0x30, [0x02, 0x01, 0x00, ...algorithm, ...tlv(0x04, [...key])]));

// derive has the browser compute the public key, which holds also where the key says
// nothing, or something wrong, of it. null: this browser cannot.
async function derive({ type, curve, pkcs8 }) {
  const algorithm = { rsa: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }, ec: { name: "ECDSA", namedCurve: curves[curve]?.name }, ed25519: { name: "Ed25519" } }[type];
  if (!globalThis.crypto?.subtle || !pkcs8 || !algorithm) return null;
  try {
    const jwk = await crypto.subtle.exportKey("jwk", await crypto.subtle.importKey("pkcs8", pkcs8, algorithm, true, ["sign"]));
    const part = (name) => hex(fromBase64(jwk[name].replaceAll("-", "+").replaceAll("_", "/").padEnd(Math.ceil(jwk[name].length / 4) * 4, "=")));
    if (type === "rsa") return rsaPublic(part("n"), part("e"));
    if (type === "ec") return ecPublic(curve, `04${part("x")}${part("y")}`);
    return edPublic(part("x"));
  } catch {
    return null;
  }
}

// SSH's own encoding (RFC 4251 section 5).

function strings(bytes, count, at = 0) {
  const list = [];
  for (; list.length < count; at += 4 + list.at(-1).length) {
    const length = new DataView(bytes.buffer, bytes.byteOffset + at).getUint32(0);
    if (at + 4 + length > bytes.length) throw new RangeError("SSH");
    list.push(bytes.subarray(at + 4, at + 4 + length));
  }
  return { list, next: at };
}

const decode = (bytes) => new TextDecoder().decode(bytes);
const sshKinds = { "ssh-ed25519": ["Ed25519", 2], "ssh-rsa": ["RSA", 6], "ecdsa-sha2-nistp256": ["ECDSA, P-256", 3], "ecdsa-sha2-nistp384": ["ECDSA, P-384", 3], "ecdsa-sha2-nistp521": ["ECDSA, P-521", 3] };

async function openSSH(der) {
  const magic = "openssh-key-v1\0";
  const unreadable = "This key cannot be read: a part of it may be missing. Copy the whole file.";
  if (decode(der.subarray(0, magic.length)) !== magic) refuse(unreadable);
  let result, kind;
  try {
    const { list: [cipher], next } = strings(der, 3, magic.length);
    const { list: [blob, secret] } = strings(der, 2, next + 4); // after the number of keys
    kind = decode(strings(blob, 1).list[0]);
    const encrypted = decode(cipher) !== "none";
    const [name, fields] = sshKinds[kind] ?? ["", 0];
    const size = kind === "ssh-rsa" ? `, ${bitsOf(integer({ body: strings(blob, 3).list[2] }))} bits` : "";
    const comment = encrypted || fields === 0 ? "" : decode(strings(secret, fields + 2, 8).list.at(-1));
    result = { kind: name + size, encrypted, comment, fingerprint: await fingerprint(blob) };
  } catch {
    refuse(unreadable);
  }
  if (kind.startsWith("sk-")) refuse("This key needs the security key that it was made with: it is of no use to an agent elsewhere.");
  if (!result.kind) refuse(`Keys of the kind ${kind} cannot be used here: RSA, ECDSA and Ed25519 can.`);
  return result;
}

function sshBlob(key) {
  const bytes = (text) => (text.match(/../g) ?? []).map((pair) => parseInt(pair, 16));
  const field = (body) => [body.length >>> 24, body.length >> 16 & 0xff, body.length >> 8 & 0xff, body.length & 0xff, ...body];
  const number = (text) => field(bytes(parseInt(text.slice(0, 2), 16) >= 0x80 ? `00${text}` : text));
  const name = (text) => field([...new TextEncoder().encode(text)]);
  switch (key?.type) {
    case "rsa": return Uint8Array.from([...name("ssh-rsa"), ...number(key.e), ...number(key.n)]);
    case "ed25519": return Uint8Array.from([...name("ssh-ed25519"), ...field(bytes(key.point))]);
    case "ec": {
      const curve = curves[key.curve]?.ssh;
      return curve ? Uint8Array.from([...name(`ecdsa-sha2-${curve}`), ...name(curve), ...field(bytes(key.point))]) : null;
    }
  }
  return null;
}

// fingerprint is that which ssh-keygen -l shows.
async function fingerprint(blob) {
  if (!globalThis.crypto?.subtle) return "";
  return `SHA256:${base64(new Uint8Array(await crypto.subtle.digest("SHA-256", blob))).replace(/=+$/, "")}`;
}

// toPEM writes a certificate that came as a binary file.
export function toPEM(der) {
  return `-----BEGIN CERTIFICATE-----\n${base64(der).match(/.{1,64}/g).join("\n")}\n-----END CERTIFICATE-----\n`;
}
