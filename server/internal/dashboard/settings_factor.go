package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/boombuler/barcode/qr"
	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/server/internal/accounts"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/grants"
	"github.com/tvzero/tokenvault/totp"
)

const factorSettings = "/settings/factor"

// Factors sets up the second factor of an account, and ends it.
type Factors interface {
	BeginSecondFactor(ctx context.Context, p grants.Principal, client audit.Client, password string) (totp.Key, error)
	ConfirmSecondFactor(ctx context.Context, p grants.Principal, client audit.Client, code string) (accounts.Codes, error)
	DisableSecondFactor(ctx context.Context, p grants.Principal, client audit.Client, password, code string) error
	NewRecoveryCodes(ctx context.Context, p grants.Principal, client audit.Client, password, code string) (accounts.Codes, error)
}

func (d *Dashboard) factorRoutes(r routes) {
	r.page(factorSettings, d.user(d.factorPage))
	r.POST(factorSettings, d.user(d.beginFactor))
	r.POST(factorSettings+"/confirm", d.user(d.confirmFactor))
	r.page(factorSettings+"/off", d.user(d.factorOffPage))
	r.POST(factorSettings+"/off", d.user(d.factorOff))
	r.page(factorSettings+"/codes", d.user(d.codesPage))
	r.POST(factorSettings+"/codes", d.user(d.newCodes))
}

func passwordField() field {
	return field{Name: "password", Label: "Your password", Type: "password", Autocomplete: "current-password", Required: true, MaxLength: maxLine}
}

func codeField(hint string) field {
	return field{Name: "code", Label: "Code", Type: "text", Hint: hint, Autocomplete: "one-time-code", Required: true, MaxLength: 64}
}

func (d *Dashboard) factorPage(c *gin.Context, v visitor) error { return d.showFactor(c, v, nil) }

func (d *Dashboard) showFactor(c *gin.Context, v visitor, failure *fault.Error) error {
	type page struct{ Password field }
	p := page{passwordField()}
	p.Password.Autofocus = true
	return d.render(c, statusOf(failure), "factor",
		view{Title: "Set up a second factor", Section: "settings", Page: &p, Problem: mark(failure, &p.Password)}, &v)
}

// A factorSecret is what an authenticator app is given, this once.
type factorSecret struct {
	URI    string
	Secret []string // in groups that can be typed
	QR     *qrCode
}

func (d *Dashboard) beginFactor(c *gin.Context, v visitor) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	key, err := d.deps.Factors.BeginSecondFactor(c.Request.Context(), v.principal, client(c), form.Get("password"))
	if err != nil {
		return mend(err, func(failure *fault.Error) error { return d.showFactor(c, v, failure) })
	}
	code, err := drawQR(key.URI())
	if err != nil {
		return err
	}
	return d.showConfirm(c, v, &factorSecret{URI: key.URI(), Secret: groups(key.Secret()), QR: code}, nil)
}

// showConfirm asks for the first code. The secret is shown when it was just made, and
// never again.
func (d *Dashboard) showConfirm(c *gin.Context, v visitor, secret *factorSecret, failure *fault.Error) error {
	type page struct {
		Secret *factorSecret
		Code   field
	}
	p := page{secret, codeField("The six digits that the app shows now.")}
	p.Code.Autofocus = secret == nil
	return d.render(c, statusOf(failure), "factor_confirm",
		view{Title: "Confirm the second factor", Section: "settings", Page: &p, Problem: mark(failure, &p.Code)}, &v)
}

func (d *Dashboard) confirmFactor(c *gin.Context, v visitor) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	codes, err := d.deps.Factors.ConfirmSecondFactor(c.Request.Context(), v.principal, client(c), form.Get("code"))
	if err != nil {
		return mend(err, func(failure *fault.Error) error { return d.showConfirm(c, v, nil, failure) })
	}
	return d.showCodes(c, v, codes, "The second factor is on")
}

// showCodes shows recovery codes, this once.
func (d *Dashboard) showCodes(c *gin.Context, v visitor, codes accounts.Codes, heading string) error {
	type page struct {
		Heading string
		Codes   string
	}
	return d.render(c, http.StatusOK, "factor_codes",
		view{Title: heading, Section: "settings", Page: page{heading, strings.Join(codes.Reveal(), "\n")}}, &v)
}

// A factorForm asks for password and code before something is done.
type factorForm struct {
	Heading  string
	Lost     []string
	Password field
	Code     field
	Do       string
	Action   string
	Danger   bool
}

func (d *Dashboard) showFactorForm(c *gin.Context, v visitor, p factorForm, failure *fault.Error) error {
	p.Password, p.Code = passwordField(), codeField("The one that your app shows now, or a recovery code.")
	return d.render(c, statusOf(failure), "factor_form",
		view{Title: p.Heading, Section: "settings", Page: &p, Problem: mark(failure, &p.Password, &p.Code)}, &v)
}

func (d *Dashboard) factorOffPage(c *gin.Context, v visitor) error {
	return d.showFactorOff(c, v, nil)
}

func (d *Dashboard) showFactorOff(c *gin.Context, v visitor, failure *fault.Error) error {
	return d.showFactorForm(c, v, factorForm{
		Heading: "Turn the second factor off?",
		Lost:    []string{"Your password alone signs in then.", "The secret in your app and all recovery codes become useless."},
		Do:      "Turn it off", Action: factorSettings + "/off", Danger: true,
	}, failure)
}

func (d *Dashboard) factorOff(c *gin.Context, v visitor) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	err = d.deps.Factors.DisableSecondFactor(c.Request.Context(), v.principal, client(c), form.Get("password"), form.Get("code"))
	if err != nil {
		return mend(err, func(failure *fault.Error) error { return d.showFactorOff(c, v, failure) })
	}
	return d.done(c, securitySettings, flashFactorOff)
}

func (d *Dashboard) codesPage(c *gin.Context, v visitor) error { return d.showNewCodes(c, v, nil) }

func (d *Dashboard) showNewCodes(c *gin.Context, v visitor, failure *fault.Error) error {
	return d.showFactorForm(c, v, factorForm{
		Heading: "Make new recovery codes?", Lost: []string{"The recovery codes that you have become useless."},
		Do: "Make new ones", Action: factorSettings + "/codes",
	}, failure)
}

func (d *Dashboard) newCodes(c *gin.Context, v visitor) error {
	form, err := readForm(c)
	if err != nil {
		return err
	}
	codes, err := d.deps.Factors.NewRecoveryCodes(c.Request.Context(), v.principal, client(c), form.Get("password"), form.Get("code"))
	if err != nil {
		return mend(err, func(failure *fault.Error) error { return d.showNewCodes(c, v, failure) })
	}
	return d.showCodes(c, v, codes, "Your new recovery codes")
}

// A qrCode is drawn by the page as one path, a square for each dark module.
type qrCode struct {
	Size int // modules of a side, the quiet zone included
	Path string
}

// quietZone is how many modules around a code stay light (ISO/IEC 18004).
const quietZone = 4

func drawQR(text string) (*qrCode, error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return nil, fmt.Errorf("dashboard: QR code: %w", err)
	}
	var path strings.Builder
	bounds := code.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			if r, _, _, _ := code.At(x, y).RGBA(); r == 0 {
				_, _ = fmt.Fprintf(&path, "M%d %dh1v1h-1z", x+quietZone, y+quietZone)
			}
		}
	}
	return &qrCode{Size: bounds.Dx() + 2*quietZone, Path: path.String()}, nil
}
