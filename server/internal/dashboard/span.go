package dashboard

import "time"

// A span is a time that a chart covers, in steps of equal length.
type span struct {
	since, until time.Time
	step         time.Duration
	words        string // "in the last 7 days"
}

// A period is a span up to now that pages offer.
type period struct {
	key    string
	text   string
	length time.Duration
	step   time.Duration
}

const day = 24 * time.Hour

func periods() []period {
	return []period{
		{"24h", "24 hours", day, time.Hour},
		{"7d", "7 days", 7 * day, 6 * time.Hour},
		{"30d", "30 days", 30 * day, day},
	}
}

// periodOf finds an offered period; false: none has this key.
func periodOf(key string) (period, bool) {
	for _, p := range periods() {
		if p.key == key {
			return p, true
		}
	}
	return period{}, false
}

// until is the period's span that ends with the step that now is in.
func (p period) until(now time.Time) span {
	end := now.UTC().Truncate(p.step).Add(p.step)
	return span{end.Add(-p.length), end, p.step, "in the last " + p.text}
}

// spanOf covers two times in at most some sixty steps. Of a longer time, it covers the end.
func spanOf(since, until time.Time, words string) span {
	steps := []time.Duration{time.Hour, 6 * time.Hour, day, 7 * day, 28 * day}
	step := steps[0]
	for _, step = range steps {
		if until.Sub(since) <= 62*step {
			break
		}
	}
	s := span{since.UTC().Truncate(step), until.UTC(), step, words}
	if over := s.until.Truncate(step); !over.Equal(s.until) {
		s.until = over.Add(step)
	}
	if earliest := s.until.Add(-62 * step); s.since.Before(earliest) {
		s.since = earliest
	}
	return s
}
