#!/usr/bin/env python3
"""Known answers for package custody, computed by an implementation of its own.

    apt-get install -y python3-cryptography
    python3 vectors.py

writes the .json files beside it. All inputs are fixed, so that a second run
changes nothing.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import struct
import uuid

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

FOLDER = pathlib.Path(__file__).parent


def pattern(label, size):
    """Bytes that look random and are the same at each run."""
    return hashlib.shake_128(label.encode()).digest(size)


KEYS = {7: pattern("server key 7", 32), 255: pattern("server key 255", 32), 0: pattern("server key 0", 32)}
KEYRING = ",".join(f"{kid}:{base64.b64encode(key).decode()}" for kid, key in KEYS.items())
CURRENT = 7

ACCOUNT = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
GRANT = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8058")
AGENT = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8059")
OTHER = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a805a")


def hkdf(secret, salt, info):
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info.encode()).derive(secret)


def encode(label, *fields):
    out = label.encode()
    for field in fields:
        out += struct.pack(">I", len(field)) + field
    return out


def be32(v):
    return struct.pack(">I", v)


def be64(v):
    return struct.pack(">q", v)


def optional(v):
    return b"" if v is None else v.bytes


def micros(v):
    return b"" if v is None else be64(v)


def token(case):
    kid, prefix = case["kid"], case["prefix"]
    salt, nonce = pattern(case["name"] + " salt", 16), pattern(case["name"] + " nonce", 12)
    secret = pattern(case["name"] + " secret", 32)
    plain = struct.pack(">B16s16sIQQ", 1, ACCOUNT.bytes, GRANT.bytes, case["slot"], case["issued"], case["expires"]) + secret
    aad = encode("tokenvault/token/v1", prefix.encode(), bytes([kid]), salt)
    sealed = AESGCM(hkdf(KEYS[kid], salt, "tokenvault/token/v1")).encrypt(nonce, plain, aad)
    payload = bytes([kid]) + salt + nonce + sealed
    text = prefix + "_" + base64.urlsafe_b64encode(payload).rstrip(b"=").decode()

    kek_label = {"tcs": "tokenvault/kek/v1/session", "tvagent": "tokenvault/kek/v1/agent-key"}[prefix]
    kek = hkdf(secret, encode("", GRANT.bytes, be32(case["slot"])), kek_label + "/x25519")
    private = pattern(case["name"] + " private", 32)
    public = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return case | {
        "account": str(ACCOUNT), "grant": str(GRANT),
        "random": (salt + nonce + secret).hex(), "private": private.hex(),
        "token": text, "public": public.hex(), "wrapped": aes_key_wrap(kek, private).hex(),
    }


def row(name, kid, table, *fields):
    key = hkdf(KEYS[kid], None, "tokenvault/row/v1")
    mac = hmac.new(key, encode("tokenvault/row/v1", table.encode(), be32(kid), *fields), hashlib.sha256)
    return {"name": name, "kid": kid, "mac": mac.hexdigest()}


def rows():
    public, wrapped = pattern("public", 32), pattern("wrapped", 40)
    created, expires = 1763769600_123456, 1766361600_000000
    return {
        "public": public.hex(), "wrapped": wrapped.hex(), "created": created, "expires": expires,
        "account": str(ACCOUNT), "grant": str(GRANT), "agent": str(AGENT), "token": str(OTHER),
        "rows": [
            row("session", CURRENT, "grants", ACCOUNT.bytes, GRANT.bytes, b"session", b"", b"", public,
                micros(created), micros(expires)),
            row("agent key", CURRENT, "grants", ACCOUNT.bytes, GRANT.bytes, b"agent_key", optional(AGENT), optional(OTHER),
                public, micros(created), micros(None)),
            row("slot", CURRENT, "grant_keys", ACCOUNT.bytes, GRANT.bytes, be64(4294967295), be64(255), wrapped,
                micros(created), micros(None)),
            row("credential grant", CURRENT, "credential_grants", ACCOUNT.bytes, AGENT.bytes, b"github", OTHER.bytes,
                b"auto", micros(expires), micros(created)),
        ],
    }


BINDING = {"url": "https://webhook.example.com/tv", "webhookID": "wh_1", "fingerprint": pattern("fingerprint", 32).hex(),
           "sealKey": "1 X25519 AAAA", "signKey": ""}


def webhook_secret():
    secret, nonce = pattern("binding secret", 32), pattern("binding nonce", 12)
    cases = []
    for kid in KEYS:
        key = hkdf(KEYS[kid], None, "tokenvault/webhook-secret/v1")
        aad = encode("tokenvault/webhook-secret/v1", ACCOUNT.bytes, OTHER.bytes, be32(kid), *(BINDING[f].encode() for f in BINDING))
        cases.append({"kid": kid, "sealed": (nonce + AESGCM(key).encrypt(nonce, secret, aad)).hex()})
    return BINDING | {"account": str(ACCOUNT), "binding": str(OTHER), "secret": secret.hex(), "cases": cases}


def passwords():
    cases = []
    for kid in KEYS:
        for password in (b"correct horse battery", "p\u00e4ssw\u00f6rter".encode()):
            key = hkdf(KEYS[kid], None, "tokenvault/password/v1")
            mac = hmac.new(key, encode("tokenvault/password/v1", ACCOUNT.bytes, password), hashlib.sha256)
            cases.append({"kid": kid, "account": str(ACCOUNT), "password": password.hex(), "peppered": mac.hexdigest()})
    return cases


def checkpoints():
    key = Ed25519PrivateKey.from_private_bytes(hkdf(KEYS[CURRENT], None, "tokenvault/audit-checkpoint/v1"))
    cases = []
    for seq, final in ((1, False), (1 << 40, True)):
        at, digest = 1763769600_654321, pattern("row hash", 32)
        text = encode("tokenvault/audit-checkpoint/v1", OTHER.bytes, be64(seq), micros(at), digest, be32(CURRENT),
                      b"\x01" if final else b"\x00")
        cases.append({"stream": str(OTHER), "seq": seq, "at": at, "hash": digest.hex(), "final": final,
                      "signature": key.sign(text).hex()})
    return cases


def write(name, value):
    (FOLDER / name).write_text(json.dumps(value, indent=1) + "\n")


write("keyring.json", {"keyring": KEYRING, "current": CURRENT})
write("tokens.json", [token(case) for case in (
    {"name": "session", "kid": 7, "prefix": "tcs", "kind": "session", "slot": 0, "issued": 1763769600, "expires": 1766361600},
    {"name": "agent key", "kid": 7, "prefix": "tvagent", "kind": "agent_key", "slot": 0, "issued": 1763769600, "expires": 0},
    {"name": "last slot", "kid": 7, "prefix": "tcs", "kind": "session", "slot": 4294967295, "issued": 1, "expires": 253402300799},
    {"name": "older key", "kid": 255, "prefix": "tvagent", "kind": "agent_key", "slot": 3, "issued": 1763769600, "expires": 0},
)])
write("rows.json", rows())
write("webhooksecret.json", webhook_secret())
write("passwords.json", passwords())
write("checkpoints.json", checkpoints())
