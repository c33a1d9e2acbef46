package main

import (
	"os"
	"strconv"
	"strings"
)

// A usage is processor time in ticks: all of the machine's, and what the host gave to
// other machines of it.
type usage struct{ total, stolen float64 }

func (u usage) plus(v usage) usage  { return usage{u.total + v.total, u.stolen + v.stolen} }
func (u usage) minus(v usage) usage { return usage{u.total - v.total, u.stolen - v.stolen} }

// stolenShare is the share, in percent, that was stolen. Above a few percent, figures
// say more about the neighbours than about us.
func (u usage) stolenShare() float64 {
	if u.total <= 0 {
		return 0
	}
	return 100 * u.stolen / u.total
}

// processorTime is the usage since the machine began; zero where the kernel does not say.
func processorTime() usage {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return usage{}
	}
	var u usage
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line) {
		ticks, err := strconv.ParseFloat(field, 64)
		if i == 0 || i > 8 || err != nil { // what follows is counted already
			continue
		}
		u.total += ticks
		if i == 8 {
			u.stolen = ticks
		}
	}
	return u
}
