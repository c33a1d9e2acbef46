package custody

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// vectors are the answers of testdata/vectors.py, which says how to make them anew.
type vectors struct {
	Seed, Root, WebhookID, SignKey string
	Service                        string
	Secrets                        map[string]string
	MetaDigest                     string
	V1, V2, OtherV1                json.RawMessage
	OtherKey                       string
	BlobLabel, BlobPlain, Blob     string
}

func readVectors(t *testing.T) vectors {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestKeysMatchAnotherImplementation(t *testing.T) {
	t.Parallel()
	v := readVectors(t)
	k := derive(t, v.Seed)
	if k.WebhookID() != v.WebhookID {
		t.Errorf("webhook id = %s, want %s", k.WebhookID(), v.WebhookID)
	}
	if k.SignKey() != v.SignKey {
		t.Errorf("sign key = %s, want %s", k.SignKey(), v.SignKey)
	}
	path := filepath.Join(t.TempDir(), "key")
	content := fmt.Sprintf(`{"v":1,"root":%q}`, v.Root)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if fromFile := loadKeys(t, path); fromFile.WebhookID() != v.WebhookID {
		t.Errorf("webhook id from a file with the same root = %s, want %s", fromFile.WebhookID(), v.WebhookID)
	}
	// No other implementation of the hybrid KEM's derivation is at hand: what is
	// pinned is that the key of a seed does not change with the toolchain.
	if got, want := k.SealKey().ID, "16fb4d179b8bbf32"; got != want {
		t.Errorf("seal key id = %s, want %s", got, want)
	}
}

func TestDocumentsOfAnotherImplementationOpen(t *testing.T) {
	t.Parallel()
	v := readVectors(t)
	k := derive(t, v.Seed)
	for name, text := range map[string]json.RawMessage{"version 1": v.V1, "version 2": v.V2} {
		d := parse(t, text)
		got, err := k.OpenToken(v.Service, d)
		if err != nil || !maps.Equal(got, v.Secrets) {
			t.Errorf("%s opens to %v, %v; want %v", name, got, err, v.Secrets)
		}
	}
	d := parse(t, v.V2)
	if got, err := metaDigest(d.Meta); err != nil || got != v.MetaDigest {
		t.Errorf("digest of the metadata = %s, %v; want %s", got, err, v.MetaDigest)
	}
	blob, err := base64.StdEncoding.DecodeString(v.Blob)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.OpenBlob(v.BlobLabel, blob); err != nil || string(got) != v.BlobPlain {
		t.Errorf("blob opens to %q, %v; want %q", got, err, v.BlobPlain)
	}
}

func TestDocumentOfAnotherWebhookOpensWithItsKeyInTheKeyFile(t *testing.T) {
	t.Parallel()
	v := readVectors(t)
	path := filepath.Join(t.TempDir(), "key")
	content := fmt.Sprintf(`{"v":1,"root":%q,"v1Keys":[%q]}`, v.Root, v.OtherKey)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	d := parse(t, v.OtherV1)
	got, err := loadKeys(t, path).OpenToken("any", d)
	if want := v.Secrets["accessToken"]; err != nil || got["accessToken"] != want {
		t.Errorf("with the other webhook's key it opens to %v, %v; want %s", got, err, want)
	}
	if got, err := derive(t, v.Seed).OpenToken("any", d); err == nil {
		t.Errorf("without that key it opens to %v, want an error", got)
	}
}
