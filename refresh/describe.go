package refresh

import (
	"encoding/base64"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxDescription = 200 // characters
	// gram is how much of a secret, in bytes, a description may repeat at most, less one. Shorter secrets are found whole.
	gram = 8
	// maxDescribed bounds what is looked through, in bytes.
	maxDescribed = 4096
)

// describe makes what a provider or a library said fit to be shown: no part of a
// secret, nothing unprintable, not long.
func describe(text string, secrets ...Secret) string {
	if len(text) > maxDescribed {
		text = text[:maxDescribed]
	}
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, mask(text, secrets))
	text = strings.Join(strings.Fields(text), " ")
	if utf8.RuneCountInString(text) > maxDescription {
		text = string([]rune(text)[:maxDescription-1]) + "…"
	}
	return text
}

// mask replaces every stretch of text that is made of pieces of the secrets.
// Providers repeat what they refuse, at times only the beginning of it.
func mask(text string, secrets []Secret) string {
	pieces, short := map[string]bool{}, []string{}
	for _, s := range secrets {
		for _, form := range []string{
			string(s), url.QueryEscape(string(s)), base64.StdEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)),
		} {
			if len(form) > 0 && len(form) < gram {
				short = append(short, form)
			}
			for i := 0; i+gram <= len(form); i++ {
				pieces[form[i:i+gram]] = true
			}
		}
	}
	hidden := make([]bool, len(text))
	for i := range text {
		if i+gram <= len(text) && pieces[text[i:i+gram]] {
			hide(hidden[i : i+gram])
		}
		for _, s := range short {
			if strings.HasPrefix(text[i:], s) {
				hide(hidden[i : i+len(s)])
			}
		}
	}
	var shown strings.Builder
	for i := range len(text) {
		switch {
		case !hidden[i]:
			shown.WriteByte(text[i])
		case i == 0 || !hidden[i-1]:
			shown.WriteString(redacted)
		}
	}
	return shown.String()
}

func hide(part []bool) {
	for i := range part {
		part[i] = true
	}
}
