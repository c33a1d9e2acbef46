"""Known answers for this package, computed by another implementation.

    python3 vectors.py > vectors.json      # needs the Python package "cryptography"

What is fixed here is what is stored at customers: if a test against these answers
fails, existing data no longer opens.
"""

import base64
import hashlib
import json

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def hkdf(key, label):
    return HKDF(hashes.SHA256(), 32, None, label.encode()).derive(key)


def context(label, *fields):
    out = label.encode()
    for field in fields:
        data = field.encode()
        out += len(data).to_bytes(4, "big") + data
    return out


def b64(data):
    return base64.b64encode(data).decode()


def digest(meta):
    steering = {k: v for k, v in meta.items() if k not in ("displayName", "notes", "tags") and v is not None}
    text = json.dumps(steering, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


SEED = "pXc4Zp0m7Q1uJ8vS2yT6bN3kR5wL9dHf"
SERVICE = "github: work"
META = {
    "serviceName": SERVICE,
    "tokenType": "OAuth",
    "provider": "github",
    "creationId": "0b0f6c1e-8a51-4d43-9f0e-2f7f1a0c9d11",
    "createdAt": "2026-01-02T03:04:05Z",
    "expiryTime": 1767323045000,
    "allowedHosts": ["https://api.github.com:443"],
    "mint": {"scopes": ["b", "a"], "lifetime": 0.5, "<>&": "\u00e9\u20ac"},
    "gone": None,
    "displayName": "anything",
    "notes": "may change",
    "tags": ["x"],
}
SECRETS = {"accessToken": "gho_example", "refreshToken": "ghr_\u00e9xample", "password": ""}

root = hkdf(SEED.encode(), "tokenvault/webhook/v1/root-of-seed")
data_key = hkdf(root, "tokenvault/webhook/v1/token-data")
blob_key = hkdf(root, "tokenvault/webhook/v1/blob-data")
sign = Ed25519PrivateKey.from_private_bytes(hkdf(root, "tokenvault/webhook/v1/sign-key"))


def seal(key, number, plain, aad):
    nonce = bytes([number]) * 12
    return nonce + AESGCM(key).encrypt(nonce, plain.encode(), aad)


v1, v2 = {}, {}
for i, (name, secret) in enumerate(SECRETS.items()):
    v1[name] = b64(seal(data_key, i, secret, None))
    aad = context("tokenvault/webhook/v2", SERVICE, name, META["creationId"], digest(META))
    v2[name] = b64(seal(data_key, 16 + i, secret, aad))

OTHER_KEY = bytes(range(32))
print(json.dumps({
    "seed": SEED,
    "root": b64(root),
    "webhookId": "wh_" + HKDF(hashes.SHA256(), 16, None, b"tokenvault/webhook/v1/webhook-id").derive(root).hex(),
    "signKey": b64(sign.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)),
    "service": SERVICE,
    "secrets": SECRETS,
    "metaDigest": digest(META),
    "v1": {"v": 1, "alg": "AES-256-GCM", "fields": v1, "meta": META},
    "v2": {"v": 2, "alg": "AES-256-GCM", "fields": v2, "meta": META},
    "otherKey": b64(OTHER_KEY),
    "otherV1": {"v": 1, "alg": "AES-256-GCM",
                "fields": {"accessToken": b64(seal(OTHER_KEY, 7, SECRETS["accessToken"], None))},
                "meta": {"tokenType": "PlainText"}},
    "blobLabel": "binding/current",
    "blobPlain": "state",
    "blob": b64(b"\x01" + seal(blob_key, 9, "state", context("tokenvault/webhook/blob/v1", "binding/current"))),
}, indent=1))
