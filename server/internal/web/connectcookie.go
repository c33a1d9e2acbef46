package web

import (
	"net/http"
	"time"
)

const connectCookie = "tv_connect"

// SetConnect leaves with the browser where a connection of an account stands, until it
// comes back from the provider. SameSite=Lax lets the cookie come along then.
func (k Cookies) SetConnect(w http.ResponseWriter, state string, life time.Duration) {
	k.set(w, &http.Cookie{Name: connectCookie, Value: state, MaxAge: int(life / time.Second)})
}

// TakeConnect returns what SetConnect left, once; "" if there is nothing.
func (k Cookies) TakeConnect(w http.ResponseWriter, r *http.Request) string {
	state := k.get(r, connectCookie)
	if state != "" {
		k.set(w, &http.Cookie{Name: connectCookie, MaxAge: -1})
	}
	return state
}
