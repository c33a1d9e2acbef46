package refreshtest_test

import (
	"testing"
	"time"

	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/refresh/refreshtest"
)

func TestMemoryIsAPlace(t *testing.T) {
	t.Parallel()
	refreshtest.TestPlace(t, func(*testing.T) refreshtest.Fixture {
		m := refreshtest.NewMemory(time.Now, refresh.State{
			Tokens: refreshtest.Initial(time.Now()), IssuedAt: time.Now().Add(-time.Hour),
			Provider: refresh.Provider{TokenURL: "https://provider.example/token"},
		})
		return refreshtest.Fixture{
			Place: &refreshtest.View{Memory: m}, Other: &refreshtest.View{Memory: m},
			Stored:  func(*testing.T) refresh.Tokens { return m.State().Tokens },
			Replace: func(_ *testing.T, tokens refresh.Tokens) { m.Replace(tokens) },
			Delete:  func(*testing.T) { m.Delete() },
		}
	})
}
