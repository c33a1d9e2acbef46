package web

import (
	"net"

	"github.com/gin-gonic/gin"
)

// A Client is who is at the other end of a request. Its fields are those of
// the audit record, to whose type a door converts it.
type Client struct {
	Address   string // IP address of the connection, without a port
	UserAgent string // as sent; the record cuts it
	RequestID string
}

// ClientOf tells who sent a request. Forwarding headers are not looked at:
// anyone can send them, and no proxy is configured to be trusted.
func ClientOf(c *gin.Context) Client {
	host, _, err := net.SplitHostPort(c.Request.RemoteAddr)
	if err != nil {
		host = c.Request.RemoteAddr
	}
	agent := ""
	if values := c.Request.Header["User-Agent"]; len(values) > 0 {
		agent = values[0]
	}
	return Client{Address: host, UserAgent: agent, RequestID: RequestID(c)}
}

// RequestID is the id that the engine gave to a request.
func RequestID(c *gin.Context) string {
	if values := c.Writer.Header()[HeaderRequestID]; len(values) > 0 {
		return values[0]
	}
	return ""
}
