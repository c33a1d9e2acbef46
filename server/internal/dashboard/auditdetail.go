package dashboard

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
)

// probeTicket begins the detail of the ticket by which a webhook is checked.
const probeTicket = "purpose=agent_credential probe="

// happened says what an event was, in a few words.
func happened(e models.AuditEvent) string {
	switch audit.EventType(e.EventType) {
	case audit.TicketIssued:
		if strings.HasPrefix(e.Detail, probeTicket) {
			return "Webhook checked"
		}
	case audit.Lock:
		switch e.Detail {
		case "lock":
			return "Vault locked"
		case "unlock":
			return "Vault unlocked"
		}
	case audit.Bind:
		if strings.HasPrefix(e.Detail, "unbind ") {
			return "Webhook unbound"
		}
		if strings.HasPrefix(e.Detail, "bind ") {
			return "Webhook bound"
		}
	}
	return wordsOf(e.EventType)
}

// detailWords says in words what an event's detail says in those of the record, which
// the exports have as they are.
func detailWords(e models.AuditEvent) string {
	switch audit.EventType(e.EventType) {
	case audit.TicketIssued, audit.Reveal:
		return ticketWords(e.Detail)
	case audit.Lock:
		if e.Detail == "lock" || e.Detail == "unlock" {
			return ""
		}
	case audit.Bind:
		return bindWords(e.Detail)
	case audit.Refresh:
		return refreshWords(e.Detail)
	case audit.GrantGiven:
		if length, ok := strings.CutPrefix(e.Detail, "for "); ok {
			return "For " + lengthWords(length)
		}
	case audit.AgentChanged:
		if name, ok := strings.CutPrefix(e.Detail, "name "); ok {
			return "Renamed to " + name
		}
		return capital(strings.NewReplacer("status suspended", "suspended", "status active", "resumed").Replace(e.Detail))
	case audit.Store:
		return storeWords(e.Detail)
	}
	return capital(e.Detail)
}

// pairs splits a detail into its pairs and what is none.
func pairs(detail string) (said map[string]string, rest string) {
	said = map[string]string{}
	var others []string
	for word := range strings.FieldsSeq(detail) {
		if key, value, ok := strings.Cut(word, "="); ok && key != "" {
			said[key] = value
		} else {
			others = append(others, word)
		}
	}
	return said, strings.Join(others, " ")
}

func ticketWords(detail string) string {
	if strings.HasPrefix(detail, probeTicket) {
		return "With a ticket for a name that no token has: is this server's address refused?"
	}
	said, _ := pairs(detail)
	switch said["purpose"] {
	case "store":
		switch said["mode"] {
		case "create":
			return "To store it at your webhook, under a name that is free"
		case "overwrite":
			return "To store it at your webhook, also in place of what it has"
		}
		return "To store it at your webhook"
	case "totp_code":
		return "For a one-time code of your webhook"
	case "user_reveal":
		return "By your webhook, with a ticket"
	case "connect":
		return "To connect its account at your webhook"
	}
	return capital(detail)
}

func bindWords(detail string) string {
	said, rest := pairs(detail)
	if said["url"] == "" {
		return capital(detail)
	}
	words := said["url"]
	if mark := said["fingerprint"]; mark != "" {
		words += ", fingerprint " + mark[:min(len(mark), 8)] + "…"
	}
	switch rest {
	case "bind", "unbind":
		return words
	}
	return capital(rest) + ": " + words
}

// refreshWords says by which path; what came of it is the outcome.
func refreshWords(detail string) string {
	said, rest := pairs(strings.Replace(detail, ": ", " ", 1))
	by := strings.TrimSpace(byPath(said["path"]))
	if by == "" {
		return capital(detail)
	}
	if said["scopes"] != "" {
		rest = strings.TrimSpace("other scopes " + rest)
	}
	if rest != "" {
		by += "; " + rest
	}
	return capital(by)
}

func storeWords(detail string) string {
	switch {
	case detail == "the webhook lists it anew or changed":
		return "Your webhook lists it as new, or changed"
	case strings.HasPrefix(detail, "metadata changed: "):
		return strings.Replace(capital(detail), "displayName", "display name", 1)
	}
	// The address is that of the webhook which was bound then.
	before, after, ok := strings.Cut(detail, " url=")
	if ok {
		_, after, _ = strings.Cut(after, ": ")
		detail = before + ": " + after
	}
	return capital(detail)
}

// lengthWords is a duration as Go writes it, for people.
func lengthWords(text string) string {
	d, err := time.ParseDuration(text)
	if err != nil {
		return text
	}
	count := func(n int64, one string) string {
		if n == 1 {
			return "1 " + one
		}
		return strconv.FormatInt(n, 10) + " " + one + "s"
	}
	switch day := 24 * time.Hour; {
	case d >= day && d%day == 0:
		return count(int64(d/day), "day")
	case d >= time.Hour && d%time.Hour == 0:
		return count(int64(d/time.Hour), "hour")
	case d >= time.Minute && d%time.Minute == 0:
		return count(int64(d/time.Minute), "minute")
	case d >= time.Second && d%time.Second == 0:
		return count(int64(d/time.Second), "second")
	}
	return text
}

// capital begins words with a capital letter.
func capital(words string) string {
	first, size := utf8.DecodeRuneInString(words)
	if size == 0 || first == utf8.RuneError {
		return words
	}
	return string(unicode.ToUpper(first)) + words[size:]
}
