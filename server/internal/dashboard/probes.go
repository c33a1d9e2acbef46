package dashboard

import (
	"fmt"
	"strconv"
	"time"

	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// A probeRow is one check of a webhook as the part "probes" shows it.
type probeRow struct {
	Name    string
	Title   string
	Verdict badge
	Status  int
	Latency string // empty: nobody was called
	Advice  string
}

func showProbes(probes []vaults.Probe) []probeRow {
	rows := make([]probeRow, len(probes))
	for i, p := range probes {
		rows[i] = probeRow{Name: p.Name, Title: p.Title, Verdict: verdictBadge(p.Verdict), Status: p.Status, Latency: latency(p), Advice: p.Advice}
	}
	return rows
}

// untriedProbes keep the place of what CheckWebhook will find.
func untriedProbes() []probeRow {
	rows := []probeRow{
		{Name: vaults.ProbeHealth, Title: "Health"}, {Name: vaults.ProbeSignedHealth, Title: "Signed health call"},
		{Name: vaults.ProbeWrongSignature, Title: "Wrong signature is refused"}, {Name: vaults.ProbeForgedTicket, Title: "Forged ticket is refused"},
		{Name: vaults.ProbeStorage, Title: "Metadata can be written and read"}, {Name: vaults.ProbeDenyList, Title: "This server's address is on the deny list"},
	}
	for i := range rows {
		rows[i].Verdict = verdictBadge(vaults.Untried)
	}
	return rows
}

func verdictBadge(v vaults.Verdict) badge {
	switch v {
	case vaults.Pass:
		return badge{Look: "good", Text: "passes"}
	case vaults.Warn:
		return badge{Look: "warn", Text: "look at it"}
	case vaults.Untried:
		return badge{Look: "plain", Text: "not tried"}
	default:
		return badge{Look: "bad", Text: "fails"}
	}
}

func latency(p vaults.Probe) string {
	if p.Latency <= 0 {
		return ""
	}
	return strconv.FormatFloat(float64(p.Latency)/float64(time.Millisecond), 'f', 1, 64) + " ms"
}

// A summary says in a sentence what all probes together come to.
type summary struct {
	Look string // of the notice; empty: there are none
	Text string
}

func summarize(probes []vaults.Probe) summary {
	var failed, doubtful int
	for _, p := range probes {
		switch p.Verdict {
		case vaults.Fail:
			failed++
		case vaults.Warn:
			doubtful++
		case vaults.Pass, vaults.Untried:
		}
	}
	switch {
	case len(probes) == 0:
		return summary{}
	case failed > 0:
		return summary{"bad", fmt.Sprintf("%s. Do what is said beside it, then check again.", checks(failed, "fails", "fail"))}
	case doubtful > 0:
		return summary{"warn", fmt.Sprintf("The webhook works. %s a look.", checks(doubtful, "is worth", "are worth"))}
	}
	return summary{"good", fmt.Sprintf("All %d checks pass.", len(probes))}
}

func checks(n int, one, many string) string {
	if n == 1 {
		return "One check " + one
	}
	return strconv.Itoa(n) + " checks " + many
}
