package browsertest

import (
	"encoding/json"
	"fmt"
)

// Barriers lists what keeps people with assistive technology from using the page,
// by rule and element, as axe-core finds it: every rule of WCAG 2.2 A and AA, and
// what it holds to be good practice. rules limits it to some.
func (p *Page) Barriers(rules ...string) []string {
	p.t.Helper()
	script, err := axeScript()
	if err != nil {
		p.t.Fatal(err)
	}
	options := map[string]any{"resultTypes": []string{"violations"}}
	if len(rules) > 0 {
		options["runOnly"] = map[string]any{"type": "rule", "values": rules}
	}
	text, err := json.Marshal(options)
	if err != nil {
		p.t.Fatal(err)
	}
	var found []struct {
		ID, Help string
		Nodes    []struct {
			HTML           string
			FailureSummary string
		}
	}
	var there bool
	if err = p.apart("typeof axe === 'object'", &there); err == nil && !there {
		err = p.apart(script+"; true", nil)
	}
	if err == nil {
		err = p.apart("axe.run(document, "+string(text)+").then(r => r.violations)", &found)
	}
	if err != nil {
		p.t.Fatalf("look for barriers: %v", err)
	}
	var barriers []string
	for _, rule := range found {
		for _, node := range rule.Nodes {
			barriers = append(barriers, fmt.Sprintf("%s (%s): %.300s\n\t%s", rule.ID, rule.Help, node.HTML, node.FailureSummary))
		}
	}
	return barriers
}
