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
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
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
    info = info if isinstance(info, bytes) else info.encode()
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info).derive(secret)


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


def public_of(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def agree(private, public):
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


KEK_LABELS = {"tcs": "session", "tck": "api-key", "tvagent": "agent-key", "tca": "oauth-access", "tcr": "oauth-refresh",
              "tcz": "auth-code"}

VAULT, GENERATION, DEK = OTHER, 3, pattern("DEK", 32)
CREDENTIAL, EPOCH, VERSION = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a805b"), 5, 9


def kek(case, secret, use, *salt):
    return hkdf(secret, encode("", uuid.UUID(case["grant"]).bytes, be32(case["slot"]), *salt),
                "tokenvault/kek/v1/" + KEK_LABELS[case["prefix"]] + use)


def token(case, version=1):
    kid, prefix = case["kid"], case["prefix"]
    case = {"account": str(ACCOUNT), "grant": str(GRANT)} | case
    salt, nonce = pattern(case["name"] + " salt", 16), pattern(case["name"] + " nonce", 12)
    secret = pattern(case["name"] + " secret", 32)
    plain = struct.pack(">B16s16sIQQ", version, ACCOUNT.bytes, uuid.UUID(case["grant"]).bytes, case["slot"], case["issued"],
                        case["expires"]) + secret
    aad = encode("tokenvault/token/v1", prefix.encode(), bytes([kid]), salt)
    sealed = AESGCM(hkdf(KEYS[kid], salt, "tokenvault/token/v1")).encrypt(nonce, plain, aad)
    payload = bytes([kid]) + salt + nonce + sealed
    text = prefix + "_" + base64.urlsafe_b64encode(payload).rstrip(b"=").decode()

    private = pattern(case["name"] + " private", 32)
    keks = {
        "x25519": kek(case, secret, "/x25519"),
        "dek": kek(case, secret, "/dek", VAULT.bytes, be64(GENERATION)),
        "cek": kek(case, secret, "/cek", CREDENTIAL.bytes, be64(EPOCH)),
    }
    return case | {
        "random": (salt + nonce + secret).hex(), "private": private.hex(),
        "token": text, "public": public_of(private).hex(), "wrapped": aes_key_wrap(keks["x25519"], private).hex(),
        "keks": {use: key.hex() for use, key in keks.items()},
    }


def row_mac(kid, table, *fields):
    key = hkdf(KEYS[kid], None, "tokenvault/row/v1")
    return hmac.new(key, encode("tokenvault/row/v1", table.encode(), be32(kid), *fields), hashlib.sha256).hexdigest()


def row(name, kid, table, *fields):
    return {"name": name, "kid": kid, "mac": row_mac(kid, table, *fields)}


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
            row("API key", CURRENT, "grants", ACCOUNT.bytes, GRANT.bytes, b"api_key", b"", optional(OTHER), public,
                micros(created), micros(expires), b"tokens:read", b"vault:manage"),
            row("webhook vault", CURRENT, "vaults", ACCOUNT.bytes, OTHER.bytes, b"webhook", micros(created), be64(1)),
            row("platform vault", CURRENT, "vaults", ACCOUNT.bytes, OTHER.bytes, b"platform", micros(created), be64(7)),
            row("vault key of a slot", CURRENT, "vault_keys", ACCOUNT.bytes, GRANT.bytes, OTHER.bytes, be64(7), be64(3), b"slot",
                b"", wrapped, micros(created)),
            row("shared vault key", CURRENT, "vault_keys", ACCOUNT.bytes, GRANT.bytes, OTHER.bytes, be64(7), be64(-1), b"shared",
                AGENT.bytes, wrapped, micros(created)),
            row("credential key of a slot", CURRENT, "credential_keys", ACCOUNT.bytes, OTHER.bytes, GRANT.bytes, be64(3), be64(2),
                b"slot", b"", wrapped, micros(created)),
            row("shared credential key", CURRENT, "credential_keys", ACCOUNT.bytes, OTHER.bytes, GRANT.bytes, be64(-1), be64(2),
                b"shared", AGENT.bytes, wrapped, micros(created)),
            row("pending escrow", CURRENT, "escrows", ACCOUNT.bytes, AGENT.bytes, OTHER.bytes, be64(7), GRANT.bytes, AGENT.bytes,
                wrapped, b"pending", micros(created), micros(expires), b""),
            row("accepted escrow", CURRENT, "escrows", ACCOUNT.bytes, AGENT.bytes, OTHER.bytes, be64(7), GRANT.bytes, AGENT.bytes,
                b"", b"accepted", micros(created), micros(expires), micros(expires)),
            row("credential grant", CURRENT, "credential_grants", ACCOUNT.bytes, AGENT.bytes, b"github", OTHER.bytes,
                b"auto", micros(expires), micros(created)),
        ],
    }


def wrap_to(ephemeral, sender, recipient, key, label, *fields):
    """wrapTo of one private key (ephemeral) and another (the sender's), to the recipient's public key."""
    context = encode(label, *fields)
    e, s = public_of(ephemeral), public_of(sender)
    k = hkdf(agree(ephemeral, recipient) + agree(sender, recipient), encode("", e, recipient, s),
             encode("tokenvault/wrap/v1", context))
    return e + s + aes_key_wrap(k, key)


def platform():
    """A session, an API key and an agent of one account, and every form of key that passes between them."""
    cases = {
        "session": {"prefix": "tcs", "kind": "session", "slot": 2, "grant": "01890a5d-ac96-774b-bcce-b302099a8061"},
        "apiKey": {"prefix": "tck", "kind": "api_key", "slot": 0, "grant": "01890a5d-ac96-774b-bcce-b302099a8062"},
        "agent": {"prefix": "tvagent", "kind": "agent_key", "slot": 1, "grant": "01890a5d-ac96-774b-bcce-b302099a8063"},
    }
    for name, case in cases.items():
        cases[name] = token({"name": "platform " + name, "kid": CURRENT, "issued": 1763769600, "expires": 0} | case)
    session, api_key, agent = ({f: bytes.fromhex(c[f]) for f in ("random", "private", "public")} |
                               {f: bytes.fromhex(key) for f, key in c["keks"].items()} |
                               {"id": uuid.UUID(c["grant"]).bytes, "slot": c["slot"]} for c in cases.values())
    created, expires = 1763769600_123456, 1763856000_123456
    ephemeral, nonce = pattern("ephemeral", 32), pattern("nonce", 12)
    generation, epoch, version = be64(GENERATION), be64(EPOCH), be64(VERSION)
    escrow = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8064")

    def vault_key(grant, slot, form, sender, wrapped):
        return {"wrapped": wrapped.hex(), "mac": row_mac(CURRENT, "vault_keys", ACCOUNT.bytes, grant["id"], VAULT.bytes, generation,
                                                         be64(slot), form, sender, wrapped, micros(created))}

    def credential_key(grant, slot, form, sender, wrapped):
        return {"wrapped": wrapped.hex(), "mac": row_mac(CURRENT, "credential_keys", ACCOUNT.bytes, CREDENTIAL.bytes, grant["id"],
                                                         be64(slot), epoch, form, sender, wrapped, micros(created))}

    cek = hkdf(DEK, encode("", CREDENTIAL.bytes, epoch), "tokenvault/credential/v1")
    name = {"owner": "", "bridge": "", "service": "github", "scheme": ""}
    bridged = {"owner": "acme", "bridge": "crm", "service": "b\u00fccher", "scheme": "oauth"}
    secret = json.dumps({"accessToken": "gho_16C7e42F292c6912E7710c838347Ae178B4a"}).encode()

    def credential(name):
        aad = encode("tokenvault/credential/v1", VAULT.bytes, CREDENTIAL.bytes, *(v.encode() for v in name.values()), epoch, version)
        return name | {"sealed": (nonce + AESGCM(cek).encrypt(nonce, secret, aad)).hex()}

    hand_over_key = hkdf(session["private"], encode("", session["id"]), "tokenvault/handover/v1")
    hand_over = nonce + AESGCM(hand_over_key).encrypt(
        nonce, DEK, encode("tokenvault/handover/v1", session["id"], VAULT.bytes, generation))

    offered = wrap_to(ephemeral, session["private"], api_key["public"], DEK, "tokenvault/wrap/escrow/v1",
                      escrow.bytes, VAULT.bytes, generation, session["id"], api_key["id"])
    successor_key = hkdf(session["random"][28:], None, "tokenvault/successor/v1")
    successor_text = token(cases["session"] | {"name": "successor", "slot": 3})["token"]
    successor = nonce + AESGCM(successor_key).encrypt(
        nonce, successor_text.encode(), encode("tokenvault/successor/v1", ACCOUNT.bytes, session["id"], be64(2), be64(3)))
    return {
        "tokens": cases, "created": created, "expires": expires, "ephemeral": ephemeral.hex(), "nonce": nonce.hex(),
        "vault": str(VAULT), "generation": GENERATION, "dek": DEK.hex(),
        "credential": str(CREDENTIAL), "epoch": EPOCH, "version": VERSION, "cek": cek.hex(),
        "vaultKeys": {
            "slot": vault_key(session, 2, b"slot", b"", aes_key_wrap(session["dek"], DEK)),
            "shared": vault_key(api_key, -1, b"shared", session["id"], wrap_to(
                ephemeral, session["private"], api_key["public"], DEK, "tokenvault/wrap/vault-key/v1",
                VAULT.bytes, generation, session["id"], api_key["id"])),
            "handOver": vault_key(session, -1, b"hand_over", b"", hand_over),
        },
        "credentialKeys": {
            "slot": credential_key(agent, 1, b"slot", b"", aes_key_wrap(agent["cek"], cek)),
            "shared": credential_key(agent, -1, b"shared", session["id"], wrap_to(
                ephemeral, session["private"], agent["public"], cek, "tokenvault/wrap/credential-key/v1",
                CREDENTIAL.bytes, epoch, session["id"], agent["id"])),
        },
        "secret": secret.hex(), "credentials": [credential(name), credential(bridged)],
        "escrow": {"id": str(escrow), "wrapped": offered.hex(), "mac": row_mac(
            CURRENT, "escrows", ACCOUNT.bytes, escrow.bytes, VAULT.bytes, generation, session["id"], api_key["id"], offered,
            b"pending", micros(created), micros(expires), b"")},
        "successor": {"next": 3, "text": successor_text, "sealed": successor.hex()},
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
    {"name": "API key", "kid": 7, "prefix": "tck", "kind": "api_key", "slot": 0, "issued": 1763769600, "expires": 1795305600},
    {"name": "OAuth access", "kid": 7, "prefix": "tca", "kind": "oauth_access", "slot": 1, "issued": 1763769600, "expires": 1763773200},
    {"name": "OAuth refresh", "kid": 0, "prefix": "tcr", "kind": "oauth_refresh", "slot": 1, "issued": 1763769600, "expires": 1766361600},
    {"name": "authorization code", "kid": 7, "prefix": "tcz", "kind": "auth_code", "slot": 0, "issued": 1763769600, "expires": 1763769660},
    {"name": "older key", "kid": 255, "prefix": "tvagent", "kind": "agent_key", "slot": 3, "issued": 1763769600, "expires": 0},
)])
write("refused.json", [{"why": why, "token": token(case, version)["token"]} for why, version, case in (
    ("an earlier version", 0, {"name": "v0", "kid": 7, "prefix": "tcs", "slot": 0, "issued": 1763769600, "expires": 0}),
    ("a future version", 2, {"name": "v2", "kid": 7, "prefix": "tcs", "slot": 0, "issued": 1763769600, "expires": 0}),
    ("the last version", 255, {"name": "v255", "kid": 7, "prefix": "tvagent", "slot": 0, "issued": 1763769600, "expires": 0}),
)])
write("platform.json", platform())
write("rows.json", rows())
write("webhooksecret.json", webhook_secret())
write("passwords.json", passwords())
write("checkpoints.json", checkpoints())
