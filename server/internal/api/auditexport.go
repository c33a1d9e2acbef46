package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// maxExport is how many events one export may have, so that a request ends;
// what is older is had with until and a cursor.
const maxExport = 100_000

// An exporter writes events in a form. What fails to be written is reported by end.
type exporter interface {
	begin()
	event(e models.AuditEvent)
	end(nextCursor string) error // empty: that was all
}

// exportAudit writes the events that match as a file, newest first: all of them, or as many
// as limit says. They are read page by page, so that memory does not grow with
// the record. After a failure on a later page package web cuts the connection.
func (a *API) exportAudit(c *gin.Context, p grants.Principal, f audit.Filter, form func(h http.Header, to io.Writer) exporter) error {
	left := maxExport
	if f.Limit > 0 {
		left = f.Limit
	}
	f.Limit = min(left, audit.MaxLimit)
	pg, err := a.deps.Audit.List(c.Request.Context(), p.AccountID, f)
	if err != nil {
		return err
	}
	out := form(c.Writer.Header(), c.Writer)
	if c.Request.Method == http.MethodHead {
		c.Status(http.StatusOK)
		return nil
	}
	out.begin()
	for {
		for _, e := range pg.Events {
			out.event(e)
		}
		left -= len(pg.Events)
		if pg.NextCursor == "" || left <= 0 {
			break
		}
		f.Cursor, f.Limit = pg.NextCursor, min(left, audit.MaxLimit)
		if pg, err = a.deps.Audit.List(c.Request.Context(), p.AccountID, f); err != nil {
			return fmt.Errorf("audit export cut short: %w", err)
		}
	}
	return out.end(pg.NextCursor)
}

// A jsonWriter writes events in the shape of the list, one a line.
type jsonWriter struct {
	w      *bufio.Writer
	err    error
	events int
}

func newJSON(h http.Header, to io.Writer) exporter {
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="audit-log.json"`)
	return &jsonWriter{w: bufio.NewWriter(to)}
}

func (o *jsonWriter) begin() { o.text(`{"events": [`) }

func (o *jsonWriter) event(e models.AuditEvent) {
	if o.events > 0 {
		o.text(",")
	}
	o.events++
	o.text("\n")
	o.value(showEvent(e))
}

func (o *jsonWriter) end(nextCursor string) error {
	o.text("\n], \"pagination\": ")
	o.value(paginationOf(nextCursor))
	o.text("}\n")
	if o.err != nil {
		return o.err
	}
	return o.w.Flush()
}

func (o *jsonWriter) text(s string) {
	_, _ = o.w.WriteString(s) // sticks; Flush reports it
}

func (o *jsonWriter) value(v any) {
	text, err := json.Marshal(v)
	if err != nil && o.err == nil {
		o.err = err
	}
	_, _ = o.w.Write(text)
}
