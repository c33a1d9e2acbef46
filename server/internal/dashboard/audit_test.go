package dashboard_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
)

func TestTheRecordIsToldInWords(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.events = []models.AuditEvent{
		{ID: agentID, At: at, EventType: "release", Source: "agent", Outcome: "ok", ServiceName: "my token", AgentID: &agentID, Address: "192.0.2.1", Client: "<script>alert(1)</script>"},
		{ID: agentID, At: at, EventType: "refusal", Source: "agent", Outcome: "NO_GRANT", ServiceName: "gone", AgentID: &account},
		{ID: agentID, At: at, EventType: "refresh", Source: "system", Outcome: "REFRESH_FAILED", Detail: "path=notify outcome=retry_at reason=provider_unreachable"},
		{ID: agentID, At: at, EventType: "refresh", Source: "system", Outcome: "ok", Detail: "path=notify outcome=rotated"},
		{ID: agentID, At: at, EventType: "delete", Source: "direct", Outcome: "INTERNAL"},
		{ID: agentID, At: at, EventType: "novelty", Source: "elsewhere", Outcome: "NEWER_CODE", Detail: `"><img src=x onerror=alert(2)>`},
	}
	got := d.get(t, "/audit")
	for _, want := range []string{
		"Released to an agent", `<a href="/token/my%20token">my token</a>`, `<a href="/agents/` + agentID.String() + `">deployer</a>`, "192.0.2.1",
		"&lt;script&gt;alert(1)&lt;/script&gt;", "The agent was not granted this token.", "an agent that is gone", "Its provider cannot be reached.", ">Renewed<",
		">Failed<", "Something went wrong in this server; its log says what.", "novelty", "NEWER_CODE", "&#34;&gt;&lt;img src=x onerror=alert(2)&gt;",
		`title="2 Jan 2026, 03:04 UTC">1 hour ago</time>`, "2 Jan 2026, 03:04:05 UTC",
	} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, bad := range []string{"<script>alert", "<img src=x", `<a href="/token/gone"`} {
		if strings.Contains(got.body, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
}

func TestTheFilterOfTheRecordReachesListExportAndPages(t *testing.T) {
	t.Parallel()
	d := open(t)
	filter := "/audit?" + values("service", "my token", "agent", agentID.String(), "type", "release", "source", "agent", "outcome", "refused", "from", "2026-01-01", "to", "2026-01-02").Encode()
	got := d.get(t, filter)
	f := d.asked
	if f.Service != "my token" || f.AgentID != agentID || f.Type != "release" || f.Source != "agent" || f.Only != "refused" ||
		f.Since.Format("2006-01-02 15:04") != "2026-01-01 00:00" || f.Until.Format("2006-01-02 15:04") != "2026-01-03 00:00" {
		t.Errorf("the record was asked for %+v", f)
	}
	rest := "agentId=" + agentID.String() + "&amp;eventType=release&amp;format=csv&amp;outcome=refused&amp;serviceName=my&#43;token&amp;since=2026-01-01T00%3A00%3A00Z&amp;source=agent&amp;until=2026-01-03T00%3A00%3A00Z"
	for _, want := range []string{
		`href="/api/tokens/audit-log?` + rest + `"`, "format=json", "download=true", "cursor=older&amp;from=2026-01-01", `value="2026-01-02"`,
		`<option value="` + agentID.String() + `" selected>deployer</option>`, "from 2026-01-01 to 2026-01-02",
	} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	d.get(t, "/audit?within=24h&from=&to=")
	if got := d.asked; !got.Since.Equal(now.AddDate(0, 0, -1)) || !got.Until.IsZero() {
		t.Errorf("within 24 hours is since %s until %s, want since %s", got.Since, got.Until, now.AddDate(0, 0, -1))
	}
	d.get(t, "/audit?within=24h&from=2025-12-01")
	if got := d.asked; got.Since.Format("2006-01-02") != "2025-12-01" {
		t.Errorf("with a first day and a period the record is read since %s, want the day", got.Since)
	}
}

func TestABadFilterIsSaidBesideItsFieldAndNothingIsRead(t *testing.T) {
	t.Parallel()
	d := open(t)
	for query, want := range map[string]string{
		"type=gossip":                   "The record has no such kind of event.",
		"source=rumour":                 "Nothing comes that way.",
		"outcome=perhaps":               "Choose what was done, or what was refused.",
		"agent=deployer":                "Choose one of your agents.",
		"from=yesterday":                "Write the first day like 2026-01-31.",
		"to=2026-02-30":                 "Write the last day like 2026-01-31.",
		"from=2026-01-02&to=2026-01-01": "The last day is before the first.",
		"within=1y":                     "There is no such period.",
		"service=a%00b":                 "has a control character in it",
		"service=" + strings.Repeat("s", 200) + "&from=2026-01-02": "longer than 128 bytes",
	} {
		d.asked.Limit = 0
		got := d.get(t, "/audit?"+query)
		if got.status != 400 || !strings.Contains(got.body, want) || d.asked.Limit != 0 {
			t.Errorf("%s: got %d, asked %+v, want 400, %q and nothing asked", query, got.status, d.asked, want)
		}
		if strings.Contains(query, "from=2026-01-02") && !strings.Contains(got.body, `value="2026-01-02"`) {
			t.Errorf("%s: what was typed is not kept", query)
		}
	}
}

func TestChartsAreTablesThatEverybodyCanRead(t *testing.T) {
	t.Parallel()
	d := open(t)
	got := d.get(t, "/audit?within=7d")
	if rows := strings.Count(got.body, "<td>1</td><td>2</td>"); rows != 28 {
		t.Errorf("the chart of releases has %d rows, want 28 of six hours each", rows)
	}
	for _, want := range []string{"28 releases, 56 refusals in the last 7 days.", "84 renewals, 112 failures that are tried again in the last 7 days.", `<time datetime="2026-01-02T00:00:00Z">`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	d.quiet = true
	got = d.get(t, "/audit")
	if !strings.Contains(got.body, "No agent asked for anything in the last 30 days.") || strings.Contains(got.body, `class="plot"`) {
		t.Errorf("a record without events has something to draw, or does not say that there is nothing")
	}
	for query, want := range map[string]int{"from=2025-12-30&to=2026-01-02": 13, "from=2020-01-01": 62, "from=2030-01-01": 2, "to=2025-12-31": 30} {
		d.quiet = false
		if got := strings.Count(d.get(t, "/audit?"+query).body, "<td>1</td><td>2</td>"); got != want {
			t.Errorf("%s: %d rows, want %d", query, got, want)
		}
	}
}

func TestThePageSaysWhatVerifyingTheChainFound(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.chained = audit.ChainState{Streams: 2, Entries: 1234, UpTo: now.Add(-3 * time.Minute)}
	if got := d.get(t, "/audit"); !strings.Contains(got.body, "3 minutes ago</time>: 1234 entries of all accounts in 2 streams, no break.") {
		t.Error("the page does not say that the chain is whole")
	}
	d.chained = audit.ChainState{Streams: 2, Entries: 10, Pending: 1}
	if got := d.get(t, "/audit"); !strings.Contains(got.body, "read for the first time; so far, nothing is wrong.") || strings.Contains(got.body, "no break") {
		t.Error("the page does not say that the chain is not verified yet")
	}
	d.chained = audit.ChainState{}
	if got := d.get(t, "/audit"); !strings.Contains(got.body, "Not verified yet") {
		t.Error("the page says something else of a record that nobody has looked at")
	}
	d.chained = audit.ChainState{Streams: 1, Entries: 10, UpTo: now, Breaks: []audit.Break{{StreamID: account, Problems: []string{"row 3 <does> not match its hash", "b", "c", "d", "e"}}}}
	got := d.get(t, "/audit")
	for _, want := range []string{"The record was changed behind", account.String(), "row 3 &lt;does&gt; not match its hash; b; c; and 2 more.", "tokenvault audit verify", `role="alert"`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(got.body, "no break") {
		t.Error("the page says that there is no break, and shows one")
	}
}
