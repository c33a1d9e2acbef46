package webhook

import (
	_ "embed"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

//go:embed connect.html
var connectHTML string

// connectState says what a page of connecting shows.
type connectState string

const (
	connectDone    connectState = "done"
	connectWaiting connectState = "waiting" // the provider has not answered yet
	connectProblem connectState = "problem"
)

// connectView is what the template gets.
type connectView struct {
	State    connectState
	Webhook  string // this webhook's URL
	Style    string
	Provider string // its name
	Service  string // of the token
	Account  string // whose it is, as the provider says; "" is not known
	Ends     bool   // the provider gave no refresh token
	Problem  string // a sentence without its capital and its full stop
	Back     string // URL at TV; "" if it is not known which TV
	BackTo   string // its origin
}

func (w *Webhook) connectPage(rw http.ResponseWriter, status int, view connectView) error {
	view.Webhook, view.Style = w.base.String(), w.base.Path+pathStyle
	if view.Problem != "" && !strings.HasPrefix(view.Problem, view.Provider) { // a name stays as it is written
		view.Problem = strings.ToUpper(view.Problem[:1]) + view.Problem[1:]
	}
	return writePage(rw, status, w.connectTemplate, view)
}

// connectFailed shows a refusal to a person.
func (w *Webhook) connectFailed(rw http.ResponseWriter, r *http.Request, known *knownProvider, back string, err error) error {
	w.logConnect(r, known, err)
	refusal := refusalOf(err)
	return w.connectPage(rw, refusal.Code.Status(), connectView{
		State: connectProblem, Provider: known.name(), Problem: refusal.Message, Back: back, BackTo: originOf(back),
	})
}

// logConnect says why an account was not connected. Neither codes nor tokens are in
// these errors.
func (w *Webhook) logConnect(r *http.Request, known *knownProvider, err error) {
	level := slog.LevelInfo
	var refusal *wire.Error
	if !errors.As(err, &refusal) {
		level = slog.LevelError
	}
	w.log.Log(r.Context(), level, "an account was not connected",
		"provider", known.ID, "client", w.clients.describe(r), "code", string(refusalOf(err).Code), "error", err.Error())
}
