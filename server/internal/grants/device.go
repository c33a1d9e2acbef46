package grants

import "strings"

// A name that stands for what user agents with a mark in them are.
type namedBy struct{ mark, name string }

// In the order in which marks are looked for: many browsers claim to be others.
var (
	browsers = [...]namedBy{
		{"Edg/", "Edge"},
		{"EdgA/", "Edge"},
		{"EdgiOS/", "Edge"},
		{"OPR/", "Opera"},
		{"Vivaldi/", "Vivaldi"},
		{"SamsungBrowser/", "Samsung Internet"},
		{"Firefox/", "Firefox"},
		{"FxiOS/", "Firefox"},
		{"HeadlessChrome/", "Chrome"},
		{"CriOS/", "Chrome"},
		{"Chromium/", "Chromium"},
		{"Chrome/", "Chrome"},
		{"Safari/", "Safari"},
	}
	systems = [...]namedBy{
		{"iPhone", "iPhone"},
		{"iPad", "iPad"},
		{"Android", "Android"},
		{"CrOS", "ChromeOS"},
		{"Windows", "Windows"},
		{"Macintosh", "macOS"},
		{"Linux", "Linux"},
		{"FreeBSD", "FreeBSD"},
		{"OpenBSD", "OpenBSD"},
	}
)

// DeviceLabel is how a session is called until its owner calls it otherwise: from
// a user agent, like "Firefox on Linux" or "curl". It is a hint: anyone can send
// any user agent.
func DeviceLabel(userAgent string) string {
	browser, system := nameIn(browsers[:], userAgent), nameIn(systems[:], userAgent)
	switch {
	case browser != "" && system != "":
		return browser + " on " + system
	case browser != "":
		return browser
	}
	program, _, _ := strings.Cut(userAgent, "/")
	if name, err := label("", program); err == nil && !strings.Contains(name, " ") && name != "Mozilla" {
		return name
	}
	if system != "" {
		return "A program on " + system
	}
	return "An unknown program"
}

func nameIn(in []namedBy, userAgent string) string {
	for _, k := range in {
		if strings.Contains(userAgent, k.mark) {
			return k.name
		}
	}
	return ""
}
