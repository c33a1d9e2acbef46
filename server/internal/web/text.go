package web

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tvzero/tokenvault/server/internal/fault"
)

// CheckText refuses text that is too long (in bytes), not UTF-8, or has control
// characters in it. What the text means is for a service to judge; this only
// keeps out what no database, header or page should have to cope with.
func CheckText(field, value string, limit int) error {
	return checkText(field, value, limit, "")
}

// CheckLines is CheckText for text of several lines.
func CheckLines(field, value string, limit int) error {
	return checkText(field, value, limit, "\n\r\t")
}

func checkText(field, value string, limit int, allowed string) error {
	if len(value) > limit {
		return fault.Field(field, "The field %q is longer than %d bytes.", field, limit)
	}
	if !utf8.ValidString(value) {
		return fault.Field(field, "The field %q is not valid UTF-8.", field)
	}
	for _, r := range value {
		if unicode.IsControl(r) && !strings.ContainsRune(allowed, r) {
			return fault.Field(field, "The field %q has a control character in it.", field)
		}
	}
	return nil
}

// QueryValue finds the only value of name in a raw query string, without
// parsing the rest into a map: the release of a credential goes through it.
// Twice the same name, or an encoding that is none, is INVALID_REQUEST.
func QueryValue(raw, name string) (value string, given bool, err error) {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		key, v, _ := strings.Cut(pair, "=")
		if key != name {
			if !strings.ContainsAny(key, "%+") {
				continue
			}
			if key, err = url.QueryUnescape(key); err != nil || key != name {
				continue
			}
		}
		if given {
			return "", false, fault.Field(name, "The parameter %q is given twice.", name)
		}
		if value, err = url.QueryUnescape(v); err != nil {
			return "", false, fault.Field(name, "The parameter %q is not encoded as a query should be.", name)
		}
		given = true
	}
	return value, given, nil
}
