package accounts

import (
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
)

// Limits of what people type.
const (
	maxEmail       = 254 // bytes, RFC 5321 §4.5.3.1
	minPassword    = 10  // characters
	maxPassword    = 1024
	maxDisplayName = 100 // characters
	maxCode        = 64  // bytes, of a second factor or a recovery code, spaces and dashes included
)

// normalize checks the input and brings it to its stored form.
func (in *RegisterInput) normalize() error {
	if err := normalizeEmail(&in.Email); err != nil {
		return err
	}
	if err := checkNewPassword("password", in.Password); err != nil {
		return err
	}
	return normalizeName(&in.DisplayName)
}

func normalizeEmail(email *string) error {
	*email = models.NormalizeEmail(*email)
	address, err := mail.ParseAddress(*email)
	if err != nil || address.Address != *email || len(*email) > maxEmail || !printable(*email) ||
		strings.ContainsRune(*email, utf8.RuneError) { // what broken UTF-8 became
		return fault.Field("email", "This is not an e-mail address, like name@example.com.")
	}
	return nil
}

func checkNewPassword(field, password string) error {
	if n := utf8.RuneCountInString(password); n < minPassword || len(password) > maxPassword || !utf8.ValidString(password) {
		return fault.Field(field, "A password has at least %d characters and at most %d bytes.", minPassword, maxPassword)
	}
	return nil
}

func normalizeName(name *string) error {
	*name = strings.TrimSpace(*name)
	if utf8.RuneCountInString(*name) > maxDisplayName || !printable(*name) {
		return fault.Field("displayName", "A display name has at most %d printable characters.", maxDisplayName)
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// clip cuts s to n bytes of printable text.
func clip(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	for len(s) > n {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}
