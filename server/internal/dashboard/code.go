package dashboard

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/platform"
	"github.com/tvzero/tokenvault/server/internal/vaults"
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
	token, code, err := d.currentCode(c, v)
	if wantsJSON(c.Request) {
		return answerCode(c, code, err)
	}
	if err == nil {
		return d.showTokenPage(c, v, token, shown{code: code}, nil)
	}
	failure, ok := mendable(err)
	if !ok || failure.Code == fault.TokenNotFound {
		return err
	}
	return d.showTokenPage(c, v, token, shown{}, failure)
}

func wantsJSON(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Accept"), "application/json")
}

func answerCode(c *gin.Context, code *oneTimeCode, err error) error {
	if err != nil {
		_ = c.Error(err)
		failure := fault.From(err)
		c.JSON(web.Status(failure.Code), codeAnswer{Problem: failure.Message})
		return nil
	}
	c.JSON(http.StatusOK, codeAnswer{Code: code.Value, RemainingSeconds: code.RemainingSeconds, Period: code.Period})
	return nil
}

// currentCode opens nothing but what has codes.
func (d *Dashboard) currentCode(c *gin.Context, v visitor) (vaults.TokenView, *oneTimeCode, error) {
	service, err := pathService(c)
	if err != nil {
		return vaults.TokenView{}, nil, err
	}
	token, err := d.deps.Tokens.Token(c.Request.Context(), v.principal, service)
	switch {
	case err != nil:
		return token, nil, err
	case token.Mode == models.ModeWebhook:
		return token, nil, fault.New(fault.WrongVaultMode, "The codes of this token come from your webhook.")
	case token.Token.TokenType != typeTOTP:
		return token, nil, fault.New(fault.Conflict, "This token has no one-time codes.")
	}
	revealed, err := d.deps.Platform.Reveal(c.Request.Context(), v.principal, client(c), platform.Ref{Service: service})
	if err != nil {
		return token, nil, err
	}
	code := codeOf(revealed)
	if code == nil { // replaced meanwhile by something else, which is not for a code's answer
		err = fault.New(fault.Conflict, "This token was replaced. Load the page again.")
	}
	return token, code, err
}
