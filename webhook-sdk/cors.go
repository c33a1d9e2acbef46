package webhook

import (
	"net/http"
	"slices"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// allowOrigin lets pages of the bound TV read an answer, and no other page.
func (w *Webhook) allowOrigin(rw http.ResponseWriter, r *http.Request) bool {
	rw.Header().Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(w.bindings.origins(w.now()), origin) {
		return false
	}
	rw.Header().Set("Access-Control-Allow-Origin", origin)
	return true
}

// preflight answers the question that a browser asks before it sends JSON.
func (w *Webhook) preflight(rw http.ResponseWriter, r *http.Request, methods string) error {
	if r.Header.Get("Origin") == "" || r.Header.Get("Access-Control-Request-Method") == "" {
		rw.Header().Set("Allow", methods)
		rw.WriteHeader(http.StatusNoContent)
		return nil
	}
	if !w.allowOrigin(rw, r) {
		return refuse(wire.CodeForbidden, "pages of this origin may not call this webhook: it is not bound to it")
	}
	h := rw.Header()
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", "Content-Type")
	h.Set("Access-Control-Max-Age", "600")
	rw.WriteHeader(http.StatusNoContent)
	return nil
}
