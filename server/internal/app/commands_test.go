package app_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tvzero/tokenvault/models/store/storetest"
)

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status},
	})
}

// status runs tokenvault and wants one exit status: status 2 serve --flag.
func status(ts *testscript.TestScript, not bool, args []string) {
	if not || len(args) < 2 {
		ts.Fatalf("usage: status NUMBER ARGUMENT…")
	}
	err := ts.Exec("tokenvault", args[1:]...)
	got := 0
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("tokenvault: %v", err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("tokenvault %s: status %d, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// run runs tokenvault to its end.
func run(t testing.TB, environment []string, args ...string) (status int, said string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "tokenvault", args...)
	command.Env, command.Dir = append(environment, "PATH="+os.Getenv("PATH")), t.TempDir()
	text, err := command.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), string(text)
}

func TestHealthSaysWhetherAServerIsReady(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		s := start(t, database, newKeys(t))
		if status, said := run(t, nil, "health", "--url", s.URL()+"/"); status != 0 || said != "ready\n" {
			t.Errorf("of a running server: status %d, %q; want 0, ready", status, said)
		}
		if status, said := run(t, []string{"TOKENVAULT_URL=" + s.URL()}, "health"); status != 0 || said != "ready\n" {
			t.Errorf("with the address in the environment: status %d, %q; want 0, ready", status, said)
		}
		s.stop()
		if status, said := run(t, nil, "health", "--url", s.URL()); status != 1 || !strings.Contains(said, "does not answer") {
			t.Errorf("of a stopped server: status %d, %q; want 1", status, said)
		}
	})
	unready := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no database", http.StatusServiceUnavailable)
	}))
	defer unready.Close()
	if status, said := run(t, nil, "health", "--url", unready.URL); status != 1 || !strings.Contains(said, "not ready: 503") {
		t.Errorf("of a server that is not ready: status %d, %q; want 1, not ready", status, said)
	}
}

func TestVerifyNamesTheRowThatWasTamperedWith(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		keys := newKeys(t)
		s := start(t, database, keys)
		owner := s.owner(t, "owner@example.com")
		for i := range 5 {
			owner.Agent("agent " + strconv.Itoa(i))
		}
		s.stop()
		if said := verify(t, database, keys); !strings.Contains(said, "6 rows in 1 streams; 0 rows lie behind") {
			t.Fatalf("an untouched record: %s", said)
		}
		db := connect(t, database)
		exec := func(statements ...string) {
			t.Helper()
			for _, statement := range statements {
				if _, err := db.ExecContext(t.Context(), statement); err != nil {
					t.Fatalf("%s: %v", statement, err)
				}
			}
		}
		if _, err := db.ExecContext(t.Context(), "UPDATE audit_events SET detail = 'x' WHERE seq = 2"); err == nil {
			t.Error("a row of the record could be changed though triggers are to stop mistakes")
		}
		if strings.HasPrefix(database, "sqlite:") {
			exec("DROP TRIGGER audit_events_no_update", "DROP TRIGGER audit_events_no_delete")
		} else {
			exec("DROP TRIGGER audit_events_append_only ON audit_events")
		}
		for _, tt := range []struct{ name, change, undo, says string }{
			{"a changed row", "UPDATE audit_events SET outcome = 'NO_GRANT' WHERE seq = 3", "UPDATE audit_events SET outcome = 'ok' WHERE seq = 3", "row 3 (event "},
			{"another hash", "CREATE TABLE kept AS SELECT hash FROM audit_events WHERE seq = 4; UPDATE audit_events SET hash = (SELECT hash FROM audit_events WHERE seq = 5) WHERE seq = 4",
				"UPDATE audit_events SET hash = (SELECT hash FROM kept) WHERE seq = 4; DROP TABLE kept", "row 4 (event "},
			{"a moved row", "UPDATE audit_events SET seq = 9 WHERE seq = 2", "UPDATE audit_events SET seq = 2 WHERE seq = 9", "rows 2 to 2 are missing"},
			{"no last row", "DELETE FROM audit_events WHERE seq = 6", "", "a checkpoint signed row 6, which is missing"},
		} {
			exec(strings.Split(tt.change, "; ")...)
			status, said := run(t, serverEnvironment(database, keys), "audit", "verify")
			if status != 1 || !strings.Contains(said, tt.says) || !strings.Contains(said, "the record was changed: 1 of 1 streams") {
				t.Errorf("%s: status %d, want 1 and %q; it said\n%s", tt.name, status, tt.says, said)
			}
			if tt.undo != "" {
				exec(strings.Split(tt.undo, "; ")...)
				verify(t, database, keys)
			}
		}
	})
}

func TestVerifyRefusesAnotherServersCheckpoints(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		s := start(t, database, newKeys(t))
		s.owner(t, "owner@example.com")
		s.stop()
		if status, said := run(t, serverEnvironment(database, newKeys(t)), "audit", "verify"); status != 1 || !strings.Contains(said, "checkpoint at row 1") {
			t.Errorf("with another server's keys: status %d, %q; want 1 and the checkpoint", status, said)
		}
	})
}
