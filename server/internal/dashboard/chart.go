package dashboard

import (
	"strconv"
	"strings"
	"time"
)

// A chart is numbers over time as the template "chart" shows them: a table that
// everybody can read, of which assets/chart.js draws a picture.
type chart struct {
	ID      string
	Title   string
	Kind    string // how it is drawn: "bars" are stacked, "lines" are not
	Unit    string // of the axis; empty: a count
	Summary string
	Since   time.Time
	Until   time.Time
	Series  []series
	Rows    []chartRow
	Flat    bool // there is nothing to draw
	Nested  bool // it is a part of a card

	totals []int64
}

// A series is a column. Tone is a colour: "good", "warn", "bad" or "plain". One and
// Many are what its numbers count.
type series struct{ Name, Tone, One, Many string }

// A chartRow is one step; a cell that is empty has no value.
type chartRow struct {
	At    time.Time
	Cells []string
}

func newChart(id, title string, over span, columns ...series) chart {
	return chart{ID: id, Title: title, Kind: "bars", Since: over.since, Until: over.until, Series: columns, Flat: true, totals: make([]int64, len(columns))}
}

// add adds a step with its numbers.
func (c *chart) add(at time.Time, numbers ...int64) {
	row := chartRow{At: at, Cells: make([]string, len(numbers))}
	for i, n := range numbers {
		row.Cells[i] = strconv.FormatInt(n, 10)
		if c.totals[i] += n; n > 0 {
			c.Flat = false
		}
	}
	c.Rows = append(c.Rows, row)
}

// sums says how many there were of each; empty: none of any.
func (c *chart) sums() string {
	var parts []string
	for i, column := range c.Series {
		switch n := c.totals[i]; {
		case n == 1:
			parts = append(parts, "1 "+column.One)
		case n > 0:
			parts = append(parts, strconv.FormatInt(n, 10)+" "+column.Many)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, ", ")
}

// summarize says in a sentence what the chart shows.
func (c *chart) summarize(none string, over span) {
	sums := c.sums()
	if sums == "" {
		sums = none
	}
	c.Summary = sums + " " + over.words + "."
}
