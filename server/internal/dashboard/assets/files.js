// Reads files that hold credentials, in the browser. It keeps nothing and sends nothing.

const maxFile = 1 << 20; // bytes

// readText returns {text} or, where a file cannot be what is meant, {error}. With pem, a
// binary certificate becomes one in PEM.
export async function readText(file, pem) {
  if (file.size > maxFile) return { error: "This file is larger than 1 MiB: no credential is." };
  const bytes = new Uint8Array(await file.arrayBuffer());
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    if (!text.includes("\0")) return { text };
  } catch {
    // It is not text.
  }
  if (!pem || bytes[0] !== 0x30) return { error: "This file is not text. The file in PEM is needed, or the one with the token in it." };
  const text = pem.toPEM(bytes);
  try {
    pem.certificate(text);
  } catch {
    return { error: "This file is no certificate that can be read. Of a .p12 or .pfx file, take certificate and key out first: openssl pkcs12 -in FILE -nodes." };
  }
  return { text };
}
