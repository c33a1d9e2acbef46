#!/usr/bin/env python3
"""The part of Project Wycheproof's test vectors that package custody can use.

In a Go module of any name, outside this repository:

    GOFLAGS=-mod=mod go mod download -json github.com/c2sp/wycheproof@v0.0.0-20260902155932-3fa63dd0344a
    python3 trim.py <the "Dir" that this printed>

writes the .json files beside it: the tests as they are, less the groups of other
key, nonce and tag sizes and the fields that say nothing here.
"""

import json
import pathlib
import sys

SOURCE = pathlib.Path(sys.argv[1]) / "testvectors_v1"
FOLDER = pathlib.Path(__file__).parent
MODULE = "github.com/c2sp/wycheproof v0.0.0-20260902155932-3fa63dd0344a, Apache-2.0"


def trim(name, group=lambda g: True, test=lambda t: True):
    tests = [t for g in json.loads((SOURCE / f"{name}_test.json").read_text())["testGroups"] if group(g)
             for t in g["tests"] if test(t)]
    lines = ",\n".join("  " + json.dumps({k: v for k, v in t.items() if k != "flags"}) for t in tests)
    (FOLDER / f"{name}.json").write_text(f'{{"source": {json.dumps(MODULE)}, "tests": [\n{lines}\n]}}\n')
    print(name, len(tests))


trim("aes_wrap", lambda g: g["keySize"] == 256)
trim("aes_gcm", lambda g: (g["keySize"], g["ivSize"], g["tagSize"]) == (256, 96, 128))
trim("hkdf_sha256", test=lambda t: t["result"] == "valid")  # the others ask for more than HKDF gives; here it is 32 bytes
trim("x25519")
