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
	at := map[string][]int{} // where each piece of text begins
	for i := 0; i+gram <= len(text); i++ {
		at[text[i:i+gram]] = append(at[text[i:i+gram]], i)
	}
	hidden := make([]bool, len(text))
	for _, s := range secrets {
		for _, form := range []string{
			string(s), url.QueryEscape(string(s)), base64.StdEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)),
		} {
			if len(form) < gram {
				hideAll(hidden, text, form)
			}
			for i := 0; i+gram <= len(form); i++ {
				piece := form[i : i+gram]
				for _, start := range at[piece] {
					hide(hidden[start : start+gram])
				}
				delete(at, piece) // hidden now, once and for all
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

// hideAll hides a whole secret that is too short to have pieces.
func hideAll(hidden []bool, text, secret string) {
	for i := range text {
		if secret != "" && strings.HasPrefix(text[i:], secret) {
			hide(hidden[i : i+len(secret)])
		}
	}
}

func hide(part []bool) {
	for i := range part {
		part[i] = true
	}
}
