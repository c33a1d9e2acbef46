package dashboard

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/platform"
)

// A secretRow is a field of a credential that somebody asked to see.
type secretRow struct{ Label, Value string }

// A oneTimeCode is the code of a TOTP token, and for how long it is good.
type oneTimeCode struct {
	Value            string
	RemainingSeconds int
	Period           int // seconds
}

// shown is what a token's page shows to who asked for it, in that answer alone.
type shown struct {
	secrets []secretRow
	code    *oneTimeCode

	refreshing *fault.Error // why it was not refreshed, when that was asked for
}

// secretRows are the fields of a credential that its form has too, in its order.
// The rest is metadata, which the page shows anyway.
func secretRows(revealed map[string]any) []secretRow {
	var rows []secretRow
	var seen []string
	for _, f := range addFields() {
		text := textOf(revealed[f.Name])
		if !f.secret && f.types == "" && f.Name != "allowedHosts" || text == "" || slices.Contains(seen, f.Name) {
			continue
		}
		seen = append(seen, f.Name)
		rows = append(rows, secretRow{f.Label, text})
	}
	return rows
}

// textOf shows a value that JSON can hold.
func textOf(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		return value
	case []string:
		return strings.Join(value, " ")
	case []any:
		parts := make([]string, len(value))
		for i, part := range value {
			parts[i] = textOf(part)
		}
		return strings.Join(parts, " ")
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("%T", value)
	}
	return string(text)
}

// codeOf is the one-time code that is revealed of a TOTP token, in place of its
// secret.
func codeOf(revealed map[string]any) *oneTimeCode {
	if revealed["totpGenerated"] != true {
		return nil
	}
	seconds, _ := revealed["remainingSeconds"].(int)
	period, _ := revealed["period"].(int)
	return &oneTimeCode{Value: textOf(revealed["accessToken"]), RemainingSeconds: seconds, Period: period}
}

// reveal answers the POST itself with the credential: to redirect, it would have to
// be kept somewhere.
func (d *Dashboard) reveal(c *gin.Context, v visitor) error {
	service, err := pathService(c)
	if err != nil {
		return err
	}
	token, err := d.deps.Tokens.Token(c.Request.Context(), v.principal, service)
	if err != nil {
		return err
	}
	revealed, err := d.deps.Platform.Reveal(c.Request.Context(), v.principal, client(c), platform.Ref{Service: service})
	if err == nil {
		s := shown{code: codeOf(revealed)}
		if s.code == nil {
			s.secrets = secretRows(revealed)
		}
		return d.showTokenPage(c, v, token, s, nil)
	}
	failure, ok := mendable(err)
	if !ok || failure.Code == fault.TokenNotFound {
		return err
	}
	return d.showTokenPage(c, v, token, shown{}, failure)
}
