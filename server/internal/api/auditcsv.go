package api

import (
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
	"github.com/tvzero/tokenvault/server/internal/audit"
	"github.com/tvzero/tokenvault/server/internal/grants"
)

// maxExport is how many events one export may have, so that a request ends;
// what is older is had with since and a cursor.
const maxExport = 100_000

// auditCSV writes the events that match, newest first: all of them, or as many
// as limit says. They are read page by page, so that memory does not grow with
// the record. After a failure on a later page package web cuts the connection.
func (a *API) auditCSV(c *gin.Context, p grants.Principal, f audit.Filter) error {
	left := maxExport
	if f.Limit > 0 {
		left = f.Limit
	}
	f.Limit = min(left, audit.MaxLimit)
	pg, err := a.deps.Audit.List(c.Request.Context(), p.AccountID, f)
	if err != nil {
		return err
	}
	c.Header("Content-Type", "text/csv; charset=utf-8")
	c.Header("Content-Disposition", `attachment; filename="audit-log.csv"`)
	if c.Request.Method == http.MethodHead {
		c.Status(http.StatusOK)
		return nil
	}
	out := newCSV(c.Writer)
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
	return out.close()
}

// A csvWriter writes events. Cells that a spreadsheet would take for a formula
// are prefixed with an apostrophe: user agents and details come from outside.
type csvWriter struct{ w *csv.Writer }

func newCSV(to io.Writer) csvWriter {
	out := csvWriter{csv.NewWriter(to)}
	out.w.UseCRLF = true // RFC 4180, section 2
	out.row("timestamp", "eventType", "source", "outcome", "serviceName", "agentId", "grantId", "address", "client", "requestId", "detail", "id")
	return out
}

func (o csvWriter) event(e models.AuditEvent) {
	o.row(e.At.UTC().Format(time.RFC3339Nano), e.EventType, e.Source, e.Outcome, e.ServiceName, text(e.AgentID), text(e.GrantID),
		e.Address, e.Client, e.RequestID, e.Detail, e.ID.String())
}

func (o csvWriter) row(cells ...string) {
	for i, cell := range cells {
		cells[i] = harmless(cell)
	}
	_ = o.w.Write(cells) // sticks; close reports it
}

func (o csvWriter) close() error {
	o.w.Flush()
	return o.w.Error()
}

func text(id *uuid.UUID) string {
	if id == nil {
		return ""
	}
	return id.String()
}

// harmless makes a cell one that no spreadsheet evaluates.
func harmless(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r\n", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
