package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"github.com/gin-gonic/gin"
)

const bareCommand = "bare"

// An exchange is an answer that was seen, for the yardstick to repeat.
type exchange struct {
	Status int
	Header http.Header
	Body   []byte
}

func (e exchange) encode() []byte {
	text, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return text
}

// serveBare is the yardstick: one gin route that answers fixed bytes.
func serveBare(path string) {
	var e exchange
	text, err := os.ReadFile(path) // #nosec G304 -- written by this run
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	answer := func(c *gin.Context) {
		header := c.Writer.Header()
		for name, values := range e.Header {
			header[name] = values
		}
		c.Status(e.Status)
		if len(e.Body) > 0 {
			_, _ = c.Writer.Write(e.Body)
		}
	}
	engine.GET("/api/agents/credentials", answer)
	engine.GET("/v1/credential", answer)
	server := &http.Server{Addr: os.Getenv("BARE_LISTEN"), Handler: engine} // #nosec G112 -- a yardstick has no limits
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
}
