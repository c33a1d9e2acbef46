package webhook

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
)

// masked stands where a credential stood.
const masked = "[masked]"

// minMasked is the length below which a credential is not looked for: what is
// shorter stands in any text by chance.
const minMasked = 4

// A mask replaces a credential in what an upstream answers, as it is and in the
// encodings in which echoes usually show it. It is best effort: an upstream that
// wants to give a credential away finds a way.
type mask struct{ replacer *strings.Replacer }

func newMask(credential string) mask {
	if len(credential) < minMasked {
		return mask{strings.NewReplacer()}
	}
	raw := []byte(credential)
	forms := []string{
		credential,
		url.QueryEscape(credential), url.PathEscape(credential),
		base64.StdEncoding.EncodeToString(raw), base64.RawStdEncoding.EncodeToString(raw),
		base64.URLEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw),
		hex.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)),
	}
	if text, err := json.Marshal(credential); err == nil {
		forms = append(forms, string(text[1:len(text)-1]))
	}
	// Basic credentials are base64 of "name:credential"; what comes before shifts
	// the encoding, so each of the three alignments has a form of its own.
	for shift := 1; shift <= 2; shift++ {
		forms = append(forms, shifted(raw, shift)...)
	}
	seen, pairs := map[string]bool{}, []string{}
	for _, form := range forms {
		if len(form) >= minMasked && !seen[form] {
			seen[form] = true
			pairs = append(pairs, form, masked)
		}
	}
	return mask{strings.NewReplacer(pairs...)}
}

// shifted is the part of the base64 of shift unknown bytes and raw that does not
// depend on the unknown.
func shifted(raw []byte, shift int) []string {
	padded := append(make([]byte, shift), raw...)
	whole := len(padded) / 3 * 3
	if whole < 9 {
		return nil // what is left is too short to say anything
	}
	// The first four characters depend on what stood before.
	return []string{
		base64.StdEncoding.EncodeToString(padded[:whole])[4:],
		base64.URLEncoding.EncodeToString(padded[:whole])[4:],
	}
}

func (m mask) text(text string) string { return m.replacer.Replace(text) }

func (m mask) bytes(body []byte) []byte {
	if len(body) == 0 {
		return body
	}
	return []byte(m.replacer.Replace(string(body)))
}
