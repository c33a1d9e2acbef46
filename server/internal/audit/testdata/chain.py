#!/usr/bin/env python3
"""A known stream for package audit, computed by an implementation of its own.

    apt-get install -y python3-cryptography
    python3 chain.py

writes chain.json beside it. All inputs are fixed, so that a second run changes
nothing.
"""

import base64
import hashlib
import json
import pathlib
import struct
import uuid

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SERVER_KEY = hashlib.shake_128(b"audit server key").digest(32)
KEY_ID = 3
STREAM = "01890a5d-ac96-774b-bcce-b302099a8001"
ACCOUNT = "01890a5d-ac96-774b-bcce-b302099a8002"
NOBODY = "00000000-0000-0000-0000-000000000000"
AGENT = "01890a5d-ac96-774b-bcce-b302099a8003"
GRANT = "01890a5d-ac96-774b-bcce-b302099a8004"
AT = 1763769600_000001  # microseconds


def field(value):
    return struct.pack(">I", len(value)) + value


def number(value):
    return field(struct.pack(">q", value))


def reference(value):
    return field(uuid.UUID(value).bytes if value else b"")


def row_hash(before, row):
    text = b"tokenvault/audit/v1" + field(before)
    for key in ("account", "id", "stream"):
        text += field(uuid.UUID(row[key]).bytes)
    text += number(row["seq"]) + number(row["at"])
    for key in ("type", "source", "outcome", "service"):
        text += field(row[key].encode())
    text += reference(row["agent"]) + reference(row["grant"])
    for key in ("client", "address", "request", "detail"):
        text += field(row[key].encode())
    return hashlib.sha256(text).digest()


def rows():
    plain = {"account": ACCOUNT, "stream": STREAM, "agent": None, "grant": None, "type": "sign_in", "source": "direct",
             "outcome": "ok", "service": "", "client": "", "address": "", "request": "", "detail": ""}
    full = plain | {"type": "release", "source": "agent", "agent": AGENT, "grant": GRANT, "service": "github",
                    "client": "curl/8", "address": "2001:db8::1", "request": "r-1", "detail": "naïve ☂"}
    before = bytes(32)
    for seq, row in enumerate((plain, full, full | {"type": "refusal", "outcome": "NO_GRANT"}, plain | {"account": NOBODY}), 1):
        row = row | {"id": str(uuid.UUID(int=uuid.UUID(ACCOUNT).int + 16 * seq)), "seq": seq, "at": AT + 1000 * seq}
        before = row_hash(before, row)
        yield row | {"hash": before.hex()}


def checkpoint(row, final):
    seed = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"tokenvault/audit-checkpoint/v1").derive(SERVER_KEY)
    at = row["at"] + 5
    text = b"tokenvault/audit-checkpoint/v1" + field(uuid.UUID(STREAM).bytes) + number(row["seq"]) + number(at)
    text += field(bytes.fromhex(row["hash"])) + field(struct.pack(">I", KEY_ID)) + field(bytes([final]))
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(text)
    return {"stream": STREAM, "seq": row["seq"], "at": at, "hash": row["hash"], "key": KEY_ID, "final": final,
            "signature": signature.hex()}


chain = list(rows())
pathlib.Path(__file__).with_name("chain.json").write_text(json.dumps({
    "keyring": f"{KEY_ID}:{base64.b64encode(SERVER_KEY).decode()}",
    "rows": chain,
    "checkpoints": [checkpoint(chain[1], False), checkpoint(chain[3], False), checkpoint(chain[3], True)],
}, indent=1) + "\n")
