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
		{0, false, "quiet after that, too soon"},
	} {
		total += step.allocated
		if got := r.Due(total); got != step.want {
			t.Errorf("%d, %s: due is %t, want %t", i, step.what, got, step.want)
		}
	}
	periods := 0
	for ; !r.Due(total) && periods < 100; periods++ { // it is quiet from here on
	}
	if want := app.RestPause - 6; periods != want {
		t.Errorf("memory was given back %d periods later, want %d", periods, want)
	}
	little, due := app.Rest{}, 0
	for n := range uint64(10 * app.RestPause) { // light work goes on and on
		if little.Due(n * app.RestQuiet) {
			due++
		}
	}
	if due != 10 {
		t.Errorf("of %d periods with little work, %d gave memory back, want 10", 10*app.RestPause, due)
	}
}
