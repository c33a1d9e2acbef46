package credential

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// AppendRelease appends to a slice, in JSON, what Release makes of what Encode wrote,
// without decoding what only passes through: metadata is copied as it stands. Its error
// is ErrEncoding or a *wire.Error.
func AppendRelease(ctx context.Context, to, text []byte, o ReleaseOptions) ([]byte, error) {
	e, err := readEncoded(text)
	if err != nil {
		return nil, err
	}
	if kind := string(e.kind); kind == wire.TypeTOTP || kind == wire.TypeRawCredential {
		c, err := Decode(text)
		if err != nil {
			return nil, err
		}
		out, err := Release(ctx, c, o)
		if err != nil {
			return nil, err
		}
		answer, err := json.Marshal(out)
		if err != nil {
			return nil, err
		}
		defer clear(answer)
		return append(to, answer...), nil
	}
	meta := e.meta
	if len(meta) < 2 || meta[0] != '{' || meta[len(meta)-1] != '}' {
		return nil, ErrEncoding
	}
	if most := longest*(len(text)+len(o.Service)) + 64; cap(to)-len(to) < most {
		to = slices.Grow(to, e.answerSize(o)) // once: what is outgrown keeps a copy of a secret
	}
	out := append(to, meta[:len(meta)-1]...)
	if len(meta) > 2 {
		out = append(out, ',')
	}
	out = appendMember(out, MetaServiceName, o.Service)
	out = appendMember(append(out, ','), MetaTokenType, e.kind)
	e.secrets(func(name, secret []byte) {
		if string(name) != wire.FieldRefreshToken || o.RefreshToken {
			out = append(AppendString(append(out, ','), name), ':')
			out = AppendString(out, secret)
		}
	})
	return append(out, '}'), nil
}

func appendMember[T ~string | ~[]byte](to []byte, name string, value T) []byte {
	return AppendString(append(AppendString(to, name), ':'), value)
}

// answerSize is how many bytes AppendRelease appends, at most.
func (e encoded) answerSize(o ReleaseOptions) int {
	size := len(e.meta) + len(MetaServiceName) + len(MetaTokenType) + longest*(len(o.Service)+len(e.kind)) + 16
	e.secrets(func(name, secret []byte) {
		escapes, _ := look(secret)
		size += longest*len(name) + len(secret) + escapes + 6
	})
	return size
}

// AppendString appends a text in JSON. Most have nothing to escape: the text is
// copied, and then looked at, byte by byte, where the bytes' type is known. If it is UTF-8,
// and to has room (six bytes for each of it, and two), no copy of it is left anywhere.
func AppendString[T ~string | ~[]byte](to []byte, text T) []byte {
	from := len(to)
	to = append(append(to, '"'), text...)
	escapes, ascii := look(to[from+1:])
	if !ascii && !utf8.Valid(to[from+1:]) {
		quoted, err := json.Marshal(string(text))
		if err != nil {
			panic(errors.New("credential: a text has no JSON form")) // every string has one
		}
		return append(to[:from], quoted...)
	}
	if escapes > 0 {
		to = escape(to, escapes)
	}
	return append(to, '"')
}

// longest is the longest form of a byte of text in JSON.
const longest = len(`\u0000`)

// look says by how many bytes a text grows in JSON.
func look(text []byte) (escapes int, ascii bool) {
	seen := byte(0)
	for _, c := range text {
		seen |= growth[c]
	}
	if seen&^notASCII == 0 {
		return 0, seen == 0
	}
	for _, c := range text {
		escapes += int(growth[c] &^ notASCII)
	}
	return escapes, seen&notASCII == 0
}

// escape makes room for escapes, and writes them from the end.
func escape(to []byte, escapes int) []byte {
	read := len(to)
	to = slices.Grow(to, escapes)[:read+escapes]
	for write := len(to); write > read; {
		read--
		c := to[read]
		switch growth[c] {
		case 1:
			if short := strings.IndexByte("\n\r\t", c); short >= 0 {
				c = "nrt"[short]
			}
			write -= 2
			to[write], to[write+1] = '\\', c
		case 5:
			write -= longest
			copy(to[write:], `\u00`)
			to[write+4], to[write+5] = hexDigits[c>>4], hexDigits[c&15]
		default:
			write--
			to[write] = c
		}
	}
	return to
}

const hexDigits = "0123456789abcdef"

// growth says by how many bytes a byte of text grows in JSON; as encoding/json does, what
// means something in HTML is escaped as well.
var growth = func() (g [256]byte) {
	for c := range g {
		switch {
		case c >= utf8.RuneSelf:
			g[c] = notASCII
		case strings.IndexByte("\"\\\n\r\t", byte(c)) >= 0:
			g[c] = 1
		case c < ' ' || strings.IndexByte("<>&", byte(c)) >= 0:
			g[c] = 5
		}
	}
	return g
}()

// notASCII marks bytes of runes that are longer: they stand for themselves if they are
// valid together.
const notASCII = 1 << 7
