package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/config"
)

func flags(t *testing.T) config.Flags {
	return config.Flags{
		Listen: "127.0.0.1:8000", PublicURL: "http://127.0.0.1:8000", Registration: "closed",
		DatabaseURL: "sqlite:" + filepath.Join(t.TempDir(), "tv.db"),
	}
}

func makeKeys() (string, error) { return "0:new", nil }

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	f := config.Flags{
		Listen: "nowhere", MetricsListen: "1.2.3.4", PublicURL: "ftp://x", Registration: "maybe", DatabaseURL: "mysql://x",
		ServerKeysFile: "/does/not/exist",
	}
	_, err := f.Check(makeKeys)
	if err == nil {
		t.Fatal("got no error")
	}
	for _, name := range []string{"LISTEN", "METRICS_LISTEN", "PUBLIC_URL", "REGISTRATION", "DATABASE_URL", "SERVER_KEYS"} {
		if !strings.Contains(err.Error(), "TOKENVAULT_"+name+": ") {
			t.Errorf("the error does not name TOKENVAULT_%s:\n%v", name, err)
		}
	}
}

func TestWhatAPublicURLMayBe(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://vault.example":        "https://vault.example",
		"https://vault.example:8443/":  "https://vault.example:8443",
		"http://localhost:8000":        "http://localhost:8000",
		"http://[::1]:8000":            "http://[::1]:8000",
		"http://vault.example":         "",
		"https://u:p@vault.example":    "",
		"https://vault.example/path":   "",
		"https://vault.example?q=1":    "",
		"vault.example":                "",
		"https://":                     "",
		"http://192.168.1.1:8000":      "",
		"https://vault.example#x":      "",
		"javascript://vault.example/a": "",
	} {
		f := flags(t)
		f.PublicURL = text
		c, err := f.Check(makeKeys)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q was accepted", text)
		case want != "" && err != nil:
			t.Errorf("%q was refused: %v", text, err)
		case want != "" && c.PublicURL.String() != want:
			t.Errorf("%q became %q, want %q", text, c.PublicURL, want)
		}
	}
}

func TestServerKeysAreMadeOnceBesideSQLite(t *testing.T) {
	t.Parallel()
	f := flags(t)
	made := 0
	count := func() (string, error) { made++; return "0:new", nil }
	for range 2 {
		c, err := f.Check(count)
		if err != nil || c.ServerKeys != "0:new" {
			t.Fatalf("got %q, %v; want the new keys", c.ServerKeys, err)
		}
	}
	if made != 1 {
		t.Errorf("keys were made %d times, want once", made)
	}
	path := strings.TrimPrefix(f.DatabaseURL, "sqlite:") + ".keys"
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file has mode %v (%v), want 0600", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Check(count); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that others can read: got %v, want the remedy", err)
	}
}

func TestServerKeysAreBesideTheDatabaseHoweverItIsSpelled(t *testing.T) {
	folder := t.TempDir()
	t.Chdir(folder)
	for _, spelled := range []string{"sqlite:a.db", "sqlite://b.db", "sqlite://" + filepath.Join(folder, "c.db"), "sqlite:d?.db"} {
		f := flags(t)
		f.DatabaseURL = spelled
		if _, err := f.Check(makeKeys); err != nil {
			t.Errorf("%s: %v", spelled, err)
		}
	}
	for _, want := range []string{"a.db.keys", "b.db.keys", "c.db.keys", "d?.db.keys"} {
		if _, err := os.Stat(filepath.Join(folder, want)); err != nil {
			t.Errorf("%s: %v; want the keys beside the database", want, err)
		}
	}
}

func TestAnExistingDatabaseWithoutItsKeysIsNotGivenNewOnes(t *testing.T) {
	t.Parallel()
	f := flags(t)
	if err := os.WriteFile(strings.TrimPrefix(f.DatabaseURL, "sqlite:"), []byte("rows"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := f.Check(makeKeys)
	if err == nil || !strings.Contains(err.Error(), "Restore the file") {
		t.Fatalf("got %v, want an error that says what to do", err)
	}
}

func TestPostgreSQLNeedsServerKeys(t *testing.T) {
	t.Parallel()
	f := flags(t)
	f.DatabaseURL = "postgres://localhost/tv"
	if _, err := f.Check(makeKeys); err == nil || !strings.Contains(err.Error(), "required with PostgreSQL") {
		t.Fatalf("got %v, want an error that asks for keys", err)
	}
	f.ServerKeys = "0:given"
	if c, err := f.Check(makeKeys); err != nil || c.ServerKeys != "0:given" {
		t.Fatalf("got %q, %v; want the given keys", c.ServerKeys, err)
	}
}

func TestASecretComesFromAValueOrAFileNotBoth(t *testing.T) {
	t.Parallel()
	f := flags(t)
	f.ServerKeysFile = filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(f.ServerKeysFile, []byte("0:filed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := f.Check(makeKeys); err != nil || c.ServerKeys != "0:filed" {
		t.Fatalf("got %q, %v; want the filed keys", c.ServerKeys, err)
	}
	f.ServerKeys = "0:given"
	if _, err := f.Check(makeKeys); err == nil || !strings.Contains(err.Error(), "not both") {
		t.Fatalf("got %v, want an error", err)
	}
}
