package dashboard

import (
	"net/url"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// A field is an input of a form as the template "field" shows it. What a person
// typed is kept in Value, but never a secret.
type field struct {
	Name         string
	Label        string
	Type         string // of the input; "area" for several lines
	Value        string
	Hint         string
	Error        string // why the value was refused
	Autocomplete string
	Required     bool
	MaxLength    int
	Autofocus    bool
}

// mark puts a failure beside the field that it names. It returns the failure
// for the top of the page.
func mark(failure *fault.Error, fields ...*field) *fault.Error {
	if failure == nil {
		return nil
	}
	for _, f := range fields {
		if f.Name == failure.Field {
			f.Error, f.Autofocus = failure.Message, true
		}
	}
	return failure
}

// mendable reports whether a failure is for the person to mend, on the page where
// it happened; everything else is a page of its own.
func mendable(err error) (*fault.Error, bool) {
	switch failure := fault.From(err); failure.Code {
	case fault.InvalidRequest, fault.Conflict, fault.LoginFailed, fault.WrongVaultMode, fault.BindCodeInvalid, fault.WebhookMismatch,
		fault.WebhookUnavailable, fault.WebhookAuthFailed, fault.WebhookNotConfigured, fault.TokenNotFound, fault.VaultLocked, fault.RateLimited:
		return failure, true
	default:
		return failure, false
	}
}

// mend shows a failure where the person can mend it. Others are returned.
func mend(err error, show func(failure *fault.Error) error) error {
	if failure, ok := mendable(err); ok {
		return show(failure)
	}
	return err
}

// Limits in bytes of what a form may hold; services have tighter ones.
const (
	maxLine  = 1 << 10
	maxLines = 16 << 10

	maxSecret = 256 << 10
)

// readForm reads a posted form and refuses fields that are too long or hold
// control characters. Passwords and credentials are limited in size alone.
func readForm(c *gin.Context) (url.Values, error) {
	form, err := web.ReadForm(c)
	if err != nil {
		return nil, err
	}
	for name, values := range form {
		if len(name) > 64 {
			return nil, fault.New(fault.InvalidRequest, "The form has a field that no form of ours has.")
		}
		if len(values) > 1 {
			return nil, fault.Field(name, "The field %q was sent twice.", name)
		}
		switch name {
		case "password", "currentPassword", "newPassword":
			if len(values[0]) > maxLine {
				err = fault.Field(name, "The password is longer than %d bytes.", maxLine)
			}
		case "accessToken", "refreshToken", "idToken", "totpSecret", "sshPrivateKey", "certificateData", "privateKeyData", "certificateChain", "passphrase":
			if len(values[0]) > maxSecret || !utf8.ValidString(values[0]) {
				err = fault.Field(name, "What you entered is longer than %d bytes, or not text.", maxSecret)
			}
		case "challenge", "credential":
			err = web.CheckText(name, values[0], maxLines)
		case "notes", "description":
			err = web.CheckLines(name, values[0], maxLines)
		default:
			err = web.CheckText(name, values[0], maxLine)
		}
		if err != nil {
			return nil, err
		}
	}
	return form, nil
}
