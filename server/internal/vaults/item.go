package vaults

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/refresh"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// Limits of what the index takes over from a webhook, in characters; the rest is
// cut. They are wider than what people may enter here (metadata.go), so that what
// was entered at the webhook itself is not cut when the page changes another field.
const (
	maxListedName  = 256
	maxListedNotes = 8192
	maxListedTags  = 64
	maxListedTag   = 128
	maxTypeName    = 32
	maxProvider    = 64
	maxCreationID  = 128
	maxSubject     = 255
	maxListedScope = 4096 // all scopes in one text
)

// itemMeta is the allow-list of what is read from an item: all else that a webhook
// may put there, secret fields among it, is passed over by the decoder and exists
// nowhere in the server. No field fails on a wrong type: it counts as absent.
type itemMeta struct {
	ServiceName     text  `json:"serviceName"`
	TokenType       text  `json:"tokenType"`
	DisplayName     text  `json:"displayName"`
	Notes           text  `json:"notes"`
	Tags            texts `json:"tags"`
	Provider        text  `json:"provider"`
	CreationID      text  `json:"creationId"`
	CreatedAt       when  `json:"createdAt"`
	ExpiryTime      when  `json:"expiryTime"`
	HasRefreshToken flag  `json:"hasRefreshToken"`
	HasCertificate  flag  `json:"hasCertificate"`
	HasPrivateKey   flag  `json:"hasPrivateKey"`
	HasSSHKey       flag  `json:"hasSSHKey"`
	HasTOTPSecret   flag  `json:"hasTotpSecret"`
	Subject         text  `json:"subject"`
	Scopes          texts `json:"scopes"`
	Scope           text  `json:"scope"`
	IssuedAt        when  `json:"issuedAt"`
	MovedFrom       text  `json:"movedFrom"`        // platform.MetaMovedFrom: the server has seen it
	Connected       text  `json:"connectedThrough"` // metaConnected: the server has seen it
}

// indexed turns an item into a row of the index, without owner. It reports false
// for what has no valid service name.
func indexed(item wire.StorageItem) (models.Token, bool) {
	var meta itemMeta
	if len(item.Meta) > 0 && json.Unmarshal(item.Meta, &meta) != nil {
		return models.Token{}, false
	}
	name := string(meta.ServiceName)
	if name == "" {
		name = item.Key
	}
	if !wire.ValidServiceName(name) {
		return models.Token{}, false
	}
	t := models.Token{
		ServiceName: name,
		TokenType:   line(meta.TokenType, maxTypeName),
		DisplayName: line(meta.DisplayName, maxListedName),
		Notes:       clean(string(meta.Notes), maxListedNotes, true),
		Tags:        tagsOf(meta.Tags),
		Provider:    line(meta.Provider, maxProvider),
		CreationID:  line(meta.CreationID, maxCreationID),
		ExpiresAt:   meta.ExpiryTime.at, StoredAt: meta.CreatedAt.at, IssuedAt: meta.IssuedAt.at,
		Subject: line(meta.Subject, maxSubject), Scope: scopeOf(meta),
		HasRefreshToken: bool(meta.HasRefreshToken), HasCertificate: bool(meta.HasCertificate),
		HasPrivateKey: bool(meta.HasPrivateKey), HasSSHKey: bool(meta.HasSSHKey), HasTOTPSecret: bool(meta.HasTOTPSecret),
	}
	seenIn(&t, meta)
	return t, true
}

func line(t text, most int) string { return strings.TrimSpace(clean(string(t), most, false)) }

// clean cuts text to most characters and drops those that a page cannot show.
func clean(s string, most int, lines bool) string {
	if len(s) <= most && readable(s, most, lines) {
		return s
	}
	var b strings.Builder
	count := 0
	for _, r := range s {
		if !unicode.IsPrint(r) && !(lines && (r == '\n' || r == '\t')) {
			continue
		}
		if count++; count > most {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// scopeOf is what a token may do, as RFC 6749 section 3.3 spells it: all of it, or
// nothing that could be taken for all.
func scopeOf(meta itemMeta) string {
	given := string(meta.Scope)
	if len(meta.Scopes) > 0 {
		given = strings.Join(meta.Scopes, " ")
	}
	if scope := strings.Join(refresh.SplitScopes(given), " "); len(scope) <= maxListedScope {
		return scope
	}
	return ""
}

func tagsOf(given texts) []string {
	tags := []string{}
	for _, tag := range given {
		tag = line(text(tag), maxListedTag)
		if tag == "" || slices.Contains(tags, tag) {
			continue
		}
		if tags = append(tags, tag); len(tags) == maxListedTags {
			break
		}
	}
	return tags
}

// textSize is about what a row's texts take in memory, in bytes.
func textSize(t models.Token) int {
	size := len(t.ServiceName) + len(t.TokenType) + len(t.DisplayName) + len(t.Notes) + len(t.Provider) + len(t.CreationID) + len(t.Subject) + len(t.Scope)
	for _, tag := range t.Tags {
		size += len(tag) + 16
	}
	return size
}

type (
	text  string
	texts []string
	flag  bool
	when  struct{ at *time.Time }
)

func (t *text) UnmarshalJSON(raw []byte) error {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		*t = text(s)
	}
	return nil
}

func (t *texts) UnmarshalJSON(raw []byte) error {
	var list []text
	if json.Unmarshal(raw, &list) == nil {
		*t = nil
		for _, s := range list[:min(len(list), 4*maxListedTags)] {
			*t = append(*t, string(s))
		}
	}
	return nil
}

func (f *flag) UnmarshalJSON(raw []byte) error {
	*f = string(raw) == "true"
	return nil
}

// UnmarshalJSON reads Unix milliseconds, as a number or its digits, or RFC 3339.
// Times outside the years 1970–9999 count as absent.
func (w *when) UnmarshalJSON(raw []byte) error {
	spelled := strings.Trim(string(raw), `"`)
	at, err := time.Parse(time.RFC3339Nano, spelled)
	if err != nil {
		millis, err := strconv.ParseFloat(spelled, 64)
		if err != nil || math.IsNaN(millis) || millis <= 0 || millis > 253402300799999 {
			return nil
		}
		at = time.UnixMilli(int64(millis))
	}
	if at = models.Stamp(at); at.Year() >= 1970 && at.Year() <= 9999 {
		w.at = &at
	}
	return nil
}
