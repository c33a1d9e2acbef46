package dashboard

import (
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
	Latency string
	Advice  string
}

func showProbes(probes []vaults.Probe) []probeRow {
	rows := make([]probeRow, len(probes))
	for i, p := range probes {
		rows[i] = probeRow{Name: p.Name, Title: p.Title, Verdict: verdictBadge(p.Verdict), Status: p.Status, Latency: latency(p), Advice: p.Advice}
	}
	return rows
}

func verdictBadge(v vaults.Verdict) badge {
	switch v {
	case vaults.Pass:
		return badge{Look: "good", Text: string(v)}
	case vaults.Warn:
		return badge{Look: "warn", Text: string(v)}
	default:
		return badge{Look: "bad", Text: string(v)}
	}
}

func latency(p vaults.Probe) string {
	return strconv.FormatFloat(float64(p.Latency)/float64(time.Millisecond), 'f', 1, 64) + " ms"
}
