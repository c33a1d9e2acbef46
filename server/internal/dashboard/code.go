package dashboard

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// A codeAnswer is a one-time code for the script of a page.
type codeAnswer struct {
	Code             string `json:"code,omitempty"`
	RemainingSeconds int    `json:"remainingSeconds,omitempty"`
	Period           int    `json:"period,omitempty"` // seconds
	Problem          string `json:"problem,omitempty"`
}

// code answers the current code of a TOTP token that is kept here: the token's page to
// a form, JSON to the page's script. It opens the secret, as revealing it does, and is
// on record as that. Codes of a webhook's token come from the webhook: this server has
// none.
func (d *Dashboard) code(c *gin.Context, v visitor) error {
	if !wantsJSON(c.Request) {
		return d.reveal(c, v)
	}
	answer, failure := d.currentCode(c, v)
	if failure != nil {
		c.JSON(web.Status(failure.Code), codeAnswer{Problem: failure.Message})
		return nil
	}
	c.JSON(http.StatusOK, answer)
	return nil
}

func wantsJSON(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Accept"), "application/json")
}

func (d *Dashboard) currentCode(c *gin.Context, v visitor) (codeAnswer, *fault.Error) {
	service, err := pathService(c)
	if err != nil {
		return codeAnswer{}, fault.From(err)
	}
	token, err := d.deps.Tokens.Token(c.Request.Context(), v.principal, service)
	switch {
	case err != nil:
	case token.Mode == models.ModeWebhook:
		err = fault.New(fault.WrongVaultMode, "The codes of this token come from your webhook.")
	case token.Token.TokenType != typeTOTP:
		err = fault.New(fault.Conflict, "This token has no one-time codes.")
	}
	if err != nil {
		return codeAnswer{}, d.told(c, err)
	}
	revealed, err := d.deps.Platform.Reveal(c.Request.Context(), v.principal, client(c), platform.Ref{Service: service})
	if err != nil {
		return codeAnswer{}, d.told(c, err)
	}
	code := codeOf(revealed)
	if code == nil { // replaced meanwhile by something else, which is not for a code's answer
		return codeAnswer{}, fault.New(fault.Conflict, "This token was replaced. Load the page again.")
	}
	return codeAnswer{Code: code.Value, RemainingSeconds: code.RemainingSeconds, Period: code.Period}, nil
}

// told is what a person is told of an error; the log has the rest.
func (d *Dashboard) told(c *gin.Context, err error) *fault.Error {
	_ = c.Error(err)
	return fault.From(err)
}
