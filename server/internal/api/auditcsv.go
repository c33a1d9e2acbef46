package api

import (
	"encoding/csv"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

// A csvWriter writes events as CSV (RFC 4180). No cell is one that a spreadsheet takes
// for a formula: user agents and details come from outside.
type csvWriter struct{ w *csv.Writer }

func newCSV(h http.Header, to io.Writer) exporter {
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="audit-log.csv"`)
	return csvWriter{csv.NewWriter(to)}
}

func (o csvWriter) begin() {
	o.w.UseCRLF = true // RFC 4180, section 2
	o.row("timestamp", "eventType", "source", "outcome", "serviceName", "agentId", "grantId", "address", "client", "requestId", "detail", "id")
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

func (o csvWriter) end(string) error {
	o.w.Flush()
	return o.w.Error()
}

func text(id *uuid.UUID) string {
	if id == nil {
		return ""
	}
	return id.String()
}

// formula is where a spreadsheet may take the rest of a text for a formula: at its beginning, after
// spaces and quotes too, or after what some take for the end of a cell, whatever
// the file's own separator is. The wide forms count in East Asian settings.
var formula = regexp.MustCompile(`(^|[;,|\t\r\n])([\s"']*)([=+\-@\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}])`)

// harmless makes a cell one that no spreadsheet evaluates, by an apostrophe.
func harmless(cell string) string {
	cell = formula.ReplaceAllString(cell, "$1$2'$3")
	if cell != "" && strings.ContainsRune("\t\r\n", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
