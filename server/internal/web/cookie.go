package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"
)

// Cookies reads and writes the server's cookies: HttpOnly, SameSite=Lax, for
// this host alone. Over https their names are prefixed with __Host-, which
// makes browsers hold other hosts and plain http off them.
type Cookies struct {
	prefix string
	secure bool
}

// NewCookies makes cookies for a server that people reach at publicURL.
func NewCookies(publicURL *url.URL) Cookies {
	if publicURL != nil && publicURL.Scheme == "https" {
		return Cookies{prefix: "__Host-", secure: true}
	}
	return Cookies{}
}

const (
	sessionCookie = "tv_session"
	flashCookie   = "tv_flash"
)

// Session returns the token of the session cookie, or "".
func (k Cookies) Session(r *http.Request) string { return k.get(r, sessionCookie) }

// SetSession signs the browser in until the session expires.
func (k Cookies) SetSession(w http.ResponseWriter, token string, expires time.Time) {
	k.set(w, &http.Cookie{Name: sessionCookie, Value: token, Expires: expires.UTC()})
}

// NextSession makes the token that follows a session's, and says until when it is
// good.
type NextSession func(ctx context.Context) (token string, expires time.Time, err error)

// FollowSession gives the browser the session's next token. When there is none to
// be had, the old one does for now: that is for the log, and for the next request.
func FollowSession(c *gin.Context, k Cookies, next NextSession) {
	token, expires, err := next(c.Request.Context())
	if err != nil {
		_ = c.Error(fmt.Errorf("web: the session keeps its token: %w", err))
		return
	}
	k.SetSession(c.Writer, token, expires)
}

// EndSession makes the browser forget the session.
func (k Cookies) EndSession(w http.ResponseWriter) {
	k.set(w, &http.Cookie{Name: sessionCookie, MaxAge: -1})
}

// SetFlash leaves a word for the next page, for a minute at most.
func (k Cookies) SetFlash(w http.ResponseWriter, word string) {
	k.set(w, &http.Cookie{Name: flashCookie, Value: word, MaxAge: 60})
}

// TakeFlash returns the word that was left, once.
func (k Cookies) TakeFlash(w http.ResponseWriter, r *http.Request) string {
	word := k.get(r, flashCookie)
	if word != "" {
		k.set(w, &http.Cookie{Name: flashCookie, MaxAge: -1})
	}
	return word
}

func (k Cookies) get(r *http.Request, name string) string {
	cookie, err := r.Cookie(k.prefix + name)
	if err != nil {
		return ""
	}
	return cookie.Value
}

func (k Cookies) set(w http.ResponseWriter, cookie *http.Cookie) {
	cookie.Name = k.prefix + cookie.Name
	cookie.Path, cookie.HttpOnly, cookie.Secure, cookie.SameSite = "/", true, k.secure, http.SameSiteLaxMode
	http.SetCookie(w, cookie)
}
