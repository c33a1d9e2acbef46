package docker_test

import (
	"encoding/base64"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// generate runs scripts/compose-secrets and returns its output.
func generate(t *testing.T, folder string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "../scripts/compose-secrets", folder).CombinedOutput()
	return string(out), err
}

// contents reads every file of a folder by its name.
func contents(t *testing.T, folder string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, e := range entries {
		found[e.Name()] = string(readFile(t, filepath.Join(folder, e.Name())))
	}
	return found
}

func TestSecretsAreGeneratedForEveryServiceAndAnewEachTime(t *testing.T) {
	t.Parallel()
	first, second := filepath.Join(t.TempDir(), "s"), filepath.Join(t.TempDir(), "s")
	for _, folder := range []string{first, second} {
		if out, err := generate(t, folder); err != nil {
			t.Fatalf("compose-secrets: %v\n%s", err, out)
		}
	}
	got, other := contents(t, first), contents(t, second)
	for name := range readCompose(t).Secrets {
		if len(got[name]) < 32 {
			t.Errorf("secret %s has %d characters, want 32 or more", name, len(got[name]))
		}
		if got[name] == other[name] {
			t.Errorf("secret %s is the same twice", name)
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("secret %s is generated, but docker-compose.yml does not use it", name)
	}
}

func TestSecretsFitTogether(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "s")
	out, err := generate(t, folder)
	if err != nil {
		t.Fatalf("compose-secrets: %v\n%s", err, out)
	}
	got := contents(t, folder)
	database, err := url.Parse(got["database_url"])
	if err != nil {
		t.Fatalf("database_url is no URL: %v", err)
	}
	if password, _ := database.User.Password(); password != got["postgres_password"] {
		t.Error("database_url and postgres_password hold different passwords")
	}
	if user := deref(readCompose(t).Services["postgres"].Environment["POSTGRES_USER"]); database.User.Username() != user || database.Hostname() != "postgres" {
		t.Errorf("database_url is for %s at %s, want %s at postgres", database.User.Username(), database.Hostname(), user)
	}
	id, key, _ := strings.Cut(got["server_keys"], ":")
	if raw, err := base64.StdEncoding.Strict().DecodeString(key); id != "1" || err != nil || len(raw) != 32 {
		t.Errorf("server_keys is not 1: and base64 of 32 bytes (id %q, %d bytes, %v)", id, len(raw), err)
	}
	for _, secret := range got {
		if strings.Contains(out, secret) {
			t.Error("compose-secrets prints a secret")
		}
	}
}

func TestSecretsAreClosedToOthersAndNeverOverwritten(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "s")
	if out, err := generate(t, folder); err != nil {
		t.Fatalf("compose-secrets: %v\n%s", err, out)
	}
	info, err := os.Stat(folder)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != fs.FileMode(0o700) {
		t.Errorf("folder of secrets has mode %o, want 700", got)
	}
	before := contents(t, folder)
	out, err := generate(t, folder)
	if err == nil || !strings.Contains(out, "nothing was changed") {
		t.Errorf("a second run: got %v and %q, want an error that says nothing was changed", err, out)
	}
	after := contents(t, folder)
	for name, want := range before {
		if after[name] != want {
			t.Errorf("a second run changed %s", name)
		}
	}
	if len(after) != len(before) {
		t.Errorf("a second run left %d files, want %d", len(after), len(before))
	}
}
