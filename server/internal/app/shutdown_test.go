package app_test

import (
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models/store/storetest"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"

	"github.com/tvzero/tokenvault/server/internal/app"
	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

// endsWithin is the promised 10 s with a margin for a busy machine.
const endsWithin = 50 * time.Second

var serving = regexp.MustCompile(`msg=serving address=(\S+)`)

// startProcess runs the server as a process of its own and returns it with its URL.
func startProcess(t testing.TB, database, keys string) (*apptest.Process, string) {
	t.Helper()
	p := apptest.Start(t, serving, serverEnvironment(database, keys), "tokenvault", "serve")
	return p, "http://" + p.Ready[1]
}

func serverEnvironment(database, keys string) []string {
	return []string{
		"TOKENVAULT_LISTEN=127.0.0.1:0", "TOKENVAULT_PUBLIC_URL=http://127.0.0.1:0", "TOKENVAULT_DATABASE_URL=" + database,
		"TOKENVAULT_SERVER_KEYS=" + keys, "TOKENVAULT_ALLOW_PRIVATE_NETWORKS=true", "TOKENVAULT_REGISTRATION=open",
	}
}

// verify runs the command that checks the record, and returns what it said.
func verify(t testing.TB, database, keys string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "tokenvault", "audit", "verify")
	command.Env, command.Dir = serverEnvironment(database, keys), t.TempDir()
	said, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(said), "Every chain holds") {
		t.Errorf("audit verify: %v\n%s", err, said)
	}
	return string(said)
}

// A pending bind is one whose webhook has the exchange in hand and does not
// answer before release is closed.
func pendingBind(t *testing.T, server string) (answered chan apptest.Answer, release chan struct{}) {
	t.Helper()
	owner := apptest.NewOwner(t, server, "owner@example.com", apptest.NewClient(t, nil))
	owner.Register()
	liar := apptest.StartLiar(t, "github")
	entered := make(chan struct{})
	answered, release = make(chan apptest.Answer, 1), make(chan struct{})
	liar.Lie(wire.PathExchange, func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		select {
		case <-release:
		case <-r.Context().Done():
		}
		answer(200, "application/json", `{"hmacSecret":"`+liar.Secret.Encode()+`","webhookId":"liar","capabilities":["storage"]}`)(w, r)
	})
	go func() {
		// What cannot be answered any more comes back as the zero answer.
		a, _ := apptest.Call(t.Context(), owner.Client, http.MethodPost, server+"/api/vault/webhook-bind", liar.Link(), "Cookie", owner.Cookie)
		answered <- a
	}()
	<-entered
	return answered, release
}

func TestATerminatedServerFinishesWhatRuns(t *testing.T) {
	t.Parallel()
	for _, dialect := range storetest.Dialects {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			for try := 1; !finishesWhatRuns(t, storetest.URL(t, dialect)); try++ {
				if try == 5 {
					t.Fatalf("the request that ran was not answered, in each try after %s or longer: the machine is too busy to tell", app.DrainTime)
				}
			}
		})
	}
}

// finishesWhatRuns reports whether a request that ran was answered by a server that was
// told to stop, unless the machine took longer than requests are waited for.
func finishesWhatRuns(t *testing.T, database string) bool {
	t.Helper()
	keys := newKeys(t)
	p, url := startProcess(t, database, keys)
	answered, release := pendingBind(t, url)
	told := time.Now()
	p.Signal(syscall.SIGTERM)
	for { // no new connection is taken: the signal has arrived
		conn, err := net.Dial("tcp", p.Ready[1])
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	close(release)
	got := <-answered
	took := time.Since(told)
	status := p.Wait(endsWithin)
	if status != 0 {
		t.Errorf("status %d, want 0; the server said:\n%s", status, p.Log())
	}
	if got.Status != http.StatusOK && took >= app.DrainTime {
		return false
	}
	if got.Status != http.StatusOK || !strings.Contains(string(got.Body), `"bound"`) {
		t.Errorf("the request that ran was answered %s after %s, want 200 bound", got, took)
	}
	if said := verify(t, database, keys); !strings.Contains(said, "2 rows in 1 streams; 0 rows lie behind") {
		t.Errorf("after an orderly end the record is %q, want registration and bind in one stream, signed to its end", said)
	}
	return true
}

func TestATerminatedServerEndsInTimeWhateverRuns(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, database string) {
		keys := newKeys(t)
		p, url := startProcess(t, database, keys)
		answered, _ := pendingBind(t, url)
		began := time.Now()
		p.Signal(syscall.SIGTERM)
		status := p.Wait(endsWithin)
		took := time.Since(began)
		if status != 0 || took < app.DrainTime/2 || !strings.Contains(p.Log(), "some requests were cut off") {
			t.Errorf("status %d after %s, want 0 after about %s, and a word about what was cut; the server said:\n%s", status, took, app.DrainTime, p.Log())
		}
		if got := <-answered; got.Status == http.StatusOK {
			t.Errorf("the request that was cut off was answered %s", got)
		}
		t.Logf("ended after %s", took.Round(time.Millisecond))
		if said := verify(t, database, keys); !strings.Contains(said, "0 rows lie behind") {
			t.Errorf("the record is %q, want it signed to its end", said)
		}
	})
}
