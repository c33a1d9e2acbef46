package dashboard

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/server/internal/health"
)

// Health tells how a bound webhook was.
type Health interface {
	History(ctx context.Context, p grants.Principal, f health.Filter) ([]health.Point, health.Share, error)
}

// healthHistory is what the template "healthhistory" shows.
type healthHistory struct {
	Periods []link
	Up      badge // of the last seven days
	Chart   chart
}

// healthHistory is of the webhook that is bound, over an offered period; nil without
// one. An empty key is the first period.
func (d *Dashboard) healthHistory(ctx context.Context, v visitor, key string) (*healthHistory, error) {
	if !bound(v) {
		return nil, nil
	}
	chosen, ok := periodOf(key)
	if !ok && key != "" {
		return nil, fault.Field("range", "There is no such period. Choose one of the links.")
	}
	if !ok {
		chosen = periods()[0]
	}
	out := &healthHistory{}
	for _, p := range periods() {
		out.Periods = append(out.Periods, link{
			Text: "Last " + p.text, URL: vaultSettings + "?" + url.Values{"range": {p.key}}.Encode() + "#health", Current: p.key == chosen.key,
		})
	}
	over := chosen.until(d.deps.Now())
	points, week, err := d.deps.Health.History(ctx, v.principal, health.Filter{
		BindingID: v.vault.Binding.ID, Since: over.since, Until: over.until, Step: over.step,
	})
	if err != nil {
		return nil, err
	}
	out.Up, out.Chart = upBadge(week), latencyChart(points, over)
	return out, nil
}

// upBadge says how many of a week's checks succeeded, never rounded up to all.
func upBadge(week health.Share) badge {
	if week.Checks == 0 {
		return badge{Look: "plain", Text: "not asked yet"}
	}
	thousandths := (week.Checks - week.Failures) * 1000 / week.Checks
	look := "good"
	switch {
	case thousandths < 950:
		look = "bad"
	case thousandths < 995:
		look = "warn"
	}
	text := strconv.FormatInt(thousandths/10, 10)
	if thousandths < 1000 {
		text += "." + strconv.FormatInt(thousandths%10, 10)
	}
	return badge{Look: look, Text: "up " + text + " % of " + strconv.FormatInt(week.Checks, 10) + " checks in 7 days", Reason: strconv.FormatInt(week.Checks-week.Failures, 10) + " of " + strconv.FormatInt(week.Checks, 10) + " checks succeeded"}
}

func latencyChart(points []health.Point, over span) chart {
	c := chart{
		ID: "latency", Title: "Answer time", Kind: "lines", Since: over.since, Until: over.until, Flat: true, Nested: true,
		Series: []series{
			{Name: "Mean (ms)", Tone: "good"}, {Name: "Slowest (ms)", Tone: "plain"}, {Name: "Failed checks", Tone: "bad"},
		},
	}
	var checks, failures int64
	for _, p := range points {
		row := chartRow{At: p.At, Cells: make([]string, 3)}
		if p.Checks > p.Failures {
			row.Cells[0], row.Cells[1] = milliseconds(p.Mean), milliseconds(p.Worst)
		}
		if p.Checks > 0 {
			row.Cells[2], c.Flat = strconv.FormatInt(p.Failures, 10), false
		}
		checks, failures = checks+p.Checks, failures+p.Failures
		c.Rows = append(c.Rows, row)
	}
	switch {
	case checks == 0:
		c.Summary = "It was not asked " + over.words + "."
	case failures == 0 && checks == 1:
		c.Summary = "The one check " + over.words + " succeeded."
	case failures == 0:
		c.Summary = "All " + strconv.FormatInt(checks, 10) + " checks " + over.words + " succeeded."
	default:
		c.Summary = strconv.FormatInt(failures, 10) + " of " + strconv.FormatInt(checks, 10) + " checks " + over.words + " failed."
	}
	return c
}

func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 1, 64)
}
