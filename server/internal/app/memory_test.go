package app_test

import (
	"testing"

	"github.com/tvzero/tokenvault/server/internal/app"
)

func TestMemoryIsGivenBackOnceWorkIsOver(t *testing.T) {
	t.Parallel()
	var r app.Rest
	total := uint64(0)
	for i, step := range []struct {
		allocated uint64
		want      bool
		what      string
	}{
		{app.RestWorth, false, "a busy period"},
		{app.RestWorth, false, "another"},
		{app.RestQuiet, true, "a quiet one after"},
		{0, false, "another quiet one: nothing to give"},
		{app.RestQuiet, false, "a little work"},
		{app.RestQuiet + 1, false, "more"},
		{app.RestWorth, false, "much"},
		{0, true, "quiet after that"},
	} {
		total += step.allocated
		if got := r.Due(total); got != step.want {
			t.Errorf("%d, %s: due is %t, want %t", i, step.what, got, step.want)
		}
	}
	little := app.Rest{}
	due := 0
	for n := range uint64(20) { // light work goes on and on
		if little.Due(n * app.RestQuiet) {
			due++
		}
	}
	if due != 2 {
		t.Errorf("of 20 periods with 1 MiB each, %d gave memory back, want 2", due)
	}
}
