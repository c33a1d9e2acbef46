package webhook

import (
	"io"
	"log"
	"net/http"
	"time"
)

// Limits of a connection. The longest answer is that of a proxied call; a body has
// a limit of its own.
const (
	requestTimeout = 10 * time.Second // headers and body
	answerTimeout  = 60 * time.Second
	idleTimeout    = 120 * time.Second
	maxHeaderBytes = 32 << 10
)

// Server returns an http.Server with the time and size limits that a webhook needs,
// for those who have none of their own. Its errors (TLS handshakes of scanners and
// the like) go nowhere; set ErrorLog to see them.
func Server(addr string, handler http.Handler) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           handler,
		ReadHeaderTimeout: requestTimeout, // the same: a deadline less to set for each request
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
}
