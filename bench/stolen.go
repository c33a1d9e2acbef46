package main

import (
	"os"
	"strconv"
	"strings"
)

// processorTime is the machine's processor time so far, and how much of it the
// host gave to other machines, in ticks; zero where the kernel does not say.
func processorTime() (total, stolen float64) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line) {
		ticks, err := strconv.ParseFloat(field, 64)
		if i == 0 || i > 8 || err != nil { // what follows is counted already
			continue
		}
		total += ticks
		if i == 8 {
			stolen = ticks
		}
	}
	return total, stolen
}

// stolenSince is the share, in percent, of processor time that the host gave to
// other machines since the two values were read. Above a few percent, figures
// say more about the neighbours than about us.
func stolenSince(total, stolen float64) float64 {
	nowTotal, nowStolen := processorTime()
	if nowTotal <= total {
		return 0
	}
	return 100 * (nowStolen - stolen) / (nowTotal - total)
}
