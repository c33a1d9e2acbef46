package storetest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/models/store/storetest"
)

func TestEachRunsOnEveryDialectWithItsOwnDatabase(t *testing.T) {
	t.Parallel()
	ran := make(chan string, 10)
	t.Run("bodies", func(t *testing.T) {
		for range 2 {
			storetest.Each(t, func(t *testing.T, s *store.Store) {
				a := models.Account{ID: models.NewID(), Email: "the-same@example.com"}
				if err := s.CreateAccount(t.Context(), &a); err != nil {
					t.Errorf("%s: got error %v, want an empty database", s.Dialect(), err)
				}
				ran <- s.Dialect()
			})
		}
	})
	close(ran)
	counts := map[string]int{}
	for dialect := range ran {
		counts[dialect]++
	}
	if counts[store.SQLite] != 2 || counts[store.Postgres] != 2 {
		t.Fatalf("got runs %v, want 2 on each dialect", counts)
	}
}

// Without PostgreSQL a database test fails and says how to run it.
func TestWithoutPostgresNothingPasses(t *testing.T) {
	t.Parallel()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestEachRunsOnEveryDialectWithItsOwnDatabase$")
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, storetest.Variable+"=") {
			child.Env = append(child.Env, v)
		}
	}
	out, err := child.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "make test") {
		t.Fatalf("got %v and the output below, want a failure that names `make test`\n%s", err, out)
	}
}
