package dashboard_test

import (
	"strings"
	"testing"
)

func TestTheVaultsPageTellsHowTheWebhookWas(t *testing.T) {
	t.Parallel()
	d := open(t)
	got := d.get(t, "/settings/vault?range=7d")
	for _, want := range []string{
		"up 99.3 % of 2016 checks in 7 days", `title="2002 of 2016 checks succeeded"`, "4 of 25 checks in the last 7 days failed.",
		"<td>12.5</td><td>40.0</td><td>0</td>", "<td>20.0</td><td>90.0</td><td>3</td>", "<td></td><td></td><td>1</td>", "<td></td><td></td><td></td>",
		`<a href="/settings/vault?range=7d#health" aria-current="page">Last 7 days</a>`,
	} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if got := d.get(t, "/settings/vault"); !strings.Contains(got.body, "checks in the last 24 hours failed.") {
		t.Error("without a choice the page does not show the last 24 hours")
	}
	if got := d.get(t, "/settings/vault?range=1y"); got.status != 400 || !strings.Contains(got.body, "There is no such period.") {
		t.Errorf("an unknown period: %d, want 400 and why", got.status)
	}
	d.quiet = true
	got = d.get(t, "/settings/vault")
	if !strings.Contains(got.body, "not asked yet") || !strings.Contains(got.body, "It was not asked in the last 24 hours.") || strings.Contains(got.body, `class="plot"`) {
		t.Error("a webhook that was never asked has something to draw, or the page does not say so")
	}
}
