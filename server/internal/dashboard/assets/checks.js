// What the fields of the form for a new token are held against before anything is sent.
// Each check returns {error, notes, suggest}: why it would not be stored; what else is to
// be said, as [{look, text}]; and what other fields could say. It knows no page.

const day = 86_400_000;
const dates = new Intl.DateTimeFormat("en-GB", { dateStyle: "long", timeZone: "UTC" });

// makeChecks takes the modules that it needs; pem and totp are needed by the types that
// have certificates, keys or one-time codes.
export function makeChecks({ recognise, pem, totp }, { type, keeper, now = Date.now }) {
  const reading = (read) => async (text, others) => {
    try {
      return await read(text, others);
    } catch (problem) {
      if (problem instanceof pem.Refusal) return { error: problem.message, notes: [] };
      throw problem;
    }
  };

  function token(text) {
    const found = recognise.recognise(text);
    return { notes: recognise.advise(type, text, keeper), suggest: { service: found?.service, expires: found?.expires } };
  }

  function oneTime(text) {
    let key;
    try {
      key = totp.parse(text);
    } catch (problem) {
      if (!(problem instanceof totp.FieldError)) throw problem;
      return { error: text.includes(":") ? `The ${named[problem.field] ?? problem.field} ${problem.problem}.` : `The secret ${problem.problem}.`, notes: [] };
    }
    const whose = [key.issuer, key.account].filter(Boolean).join(", ");
    const line = `${whose ? `For ${whose}: ` : ""}${key.digits} digits, every ${key.period} seconds, ${key.algorithm}.`;
    return { notes: [{ look: "good", text: line }], key, suggest: { service: serviceName(key.issuer), display: [key.issuer, key.account].filter(Boolean).join(" ") } };
  }

  function certificate(text, others) {
    const read = pem.certificate(text);
    const notes = [{ look: "info", text: `For ${read.subject}, issued by ${read.issuer || "nobody named"}; ${read.key}${read.count > 1 ? `; with ${read.count - 1} more behind it` : ""}.` }];
    notes.push(validity(read));
    return { notes, suggest: { service: serviceName(read.subject) }, others: others ? ["privateKeyData"] : [] };
  }

  function validity({ from, until }) {
    if (until < now()) return { look: "warn", text: `It expired on ${dates.format(until)}. It can be stored, but hardly be used.` };
    if (from > now()) return { look: "warn", text: `It is good from ${dates.format(from)} only, until ${dates.format(until)}.` };
    const days = Math.floor((until - now()) / day);
    return { look: days < 14 ? "warn" : "good", text: `Good until ${dates.format(until)}, ${days === 1 ? "1 more day" : `${days} more days`}.` };
  }

  async function key(text, others) {
    const read = await pem.privateKey(text);
    if (read.encrypted) return { notes: [{ look: "info", text: "It is encrypted: whether it is the certificate's own cannot be told. Whoever uses it needs its passphrase." }] };
    const notes = [{ look: "info", text: `${read.kind}.` }];
    let owner = null;
    try {
      owner = others.certificateData ? pem.certificate(others.certificateData).public : null;
    } catch {
      owner = null; // which is said beside the certificate
    }
    if (owner && read.public && owner.text !== read.public.text) {
      return { error: "It is not the private key of the certificate above. Use the two that belong together.", notes };
    }
    if (owner && read.public) notes.push({ look: "good", text: "It is the certificate's own." });
    else if (others.certificateData) notes.push({ look: "info", text: "Whether it is the certificate's own cannot be told here; it is checked where it is stored." });
    return { notes };
  }

  async function ssh(text) {
    const read = await pem.sshKey(text);
    const line = [read.kind, read.comment && `“${read.comment}”`, read.fingerprint].filter(Boolean).join(", ");
    return { notes: [
      ...(line ? [{ look: "good", text: `${line}.` }] : []),
      { look: "info", text: read.encrypted ? "It has a passphrase: whoever uses it needs that as well." : "It has no passphrase: whoever gets it can use it." },
    ] };
  }

  function chain(text) {
    const read = pem.certificate(text);
    return { notes: [{ look: "good", text: `${read.count === 1 ? "One certificate" : `${read.count} certificates`}, the first of ${read.subject}.` }] };
  }

  return { token, totp: oneTime, certificate: pem && reading(certificate), key: pem && reading(key), ssh: pem && reading(ssh), chain: pem && reading(chain) };
}

const named = { uri: "address", query: "address", type: "type", account: "account's name", issuer: "issuer's name" };

// serviceName makes a name that agents can ask for of what somebody else called it.
export function serviceName(text = "") {
  return text.toLowerCase().replace(/[^a-z0-9._@-]+/g, "-").replace(/^[^a-z0-9]+|-+$/g, "").slice(0, 64);
}
