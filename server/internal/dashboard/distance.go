package dashboard

import (
	"fmt"
	"html/template"
	"strconv"
	"time"
)

// distances makes the template function "ago": how far away a time is, "3 days ago"
// or "in 2 hours", with the time itself in the title. The script of every page keeps
// it current, in the same words.
func distances(now func() time.Time) func(t any) (template.HTML, error) {
	return distant(now, "data-relative")
}

// countdowns makes the template function "countdown": as "ago", for what ends; the
// script counts the seconds of its last hour.
func countdowns(now func() time.Time) func(t any) (template.HTML, error) {
	return distant(now, "data-countdown")
}

func distant(now func() time.Time, attribute string) func(t any) (template.HTML, error) {
	return func(t any) (template.HTML, error) {
		at, ok, err := timeOf(t)
		if err != nil || !ok {
			return "", err
		}
		at = at.Truncate(time.Second) // which is what the script reads
		//nolint:gosec // digits, letters and punctuation of a fixed form
		return template.HTML("<time " + attribute + ` datetime="` + at.Format(time.RFC3339) + `" title="` + at.Format(toMinute) + ` UTC">` +
			distance(at.Sub(now())) + "</time>"), nil
	}
}

// distance says how far away something is, in its largest whole unit.
func distance(d time.Duration) string {
	size, past := d.Abs(), d < 0
	if size < time.Minute {
		if past {
			return "just now"
		}
		return "in a moment"
	}
	const day = 24 * time.Hour
	text := ""
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"year", 365 * day}, {"month", 30 * day}, {"day", day}, {"hour", time.Hour}, {"minute", time.Minute}} {
		if n := int(size / unit.size); n > 0 {
			text = strconv.Itoa(n) + " " + unit.name
			if n > 1 {
				text += "s"
			}
			break
		}
	}
	if past {
		return text + " ago"
	}
	return "in " + text
}

// timeOf is a time that a template was given; false if it is none yet.
func timeOf(t any) (time.Time, bool, error) {
	switch t := t.(type) {
	case time.Time:
		return t.UTC(), true, nil
	case *time.Time:
		if t == nil {
			return time.Time{}, false, nil
		}
		return t.UTC(), true, nil
	}
	return time.Time{}, false, fmt.Errorf("dashboard: %T is no time", t)
}
