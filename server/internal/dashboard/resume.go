package dashboard

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
)

// A resumePage keeps a form that came without a live session: whoever signs in again,
// in another tab, sends it once more from here. Secrets are not kept: the form that
// wanted one asks for it again, as it does whenever one is missing.
type resumePage struct {
	Action string
	Kept   []keptField
	Again  bool // something is to be typed again
}

type keptField struct{ Name, Value string }

// secretField reports whether what was typed into a field of this name is never shown
// again. Names that merely sound so count as well.
func secretField(name string) bool {
	name = strings.ToLower(name)
	return name == "code" || slices.ContainsFunc([]string{"password", "passphrase", "secret", "token", "privatekey", "certificate", "recovery", "credential", "assertion"},
		func(part string) bool { return strings.Contains(name, part) })
}

// resume answers a form of somebody whose session has ended.
func (d *Dashboard) resume(c *gin.Context) error {
	form, err := readForm(c)
	if err != nil {
		return seeOther(c, "/login")
	}
	p := resumePage{Action: safeNext(c.Request.URL.EscapedPath())}
	for name, values := range form {
		switch {
		case !secretField(name):
			p.Kept = append(p.Kept, keptField{name, values[0]})
		case values[0] != "":
			p.Again = true
		}
	}
	slices.SortFunc(p.Kept, func(a, b keptField) int { return strings.Compare(a.Name, b.Name) })
	return d.render(c, http.StatusUnauthorized, "resume", view{Title: "Your session has ended", Page: p}, nil)
}
