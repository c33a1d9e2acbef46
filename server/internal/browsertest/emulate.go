package browsertest

import (
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// A Look is how a person's machine shows pages. Zero fields are a wide, light
// window with scripts.
type Look struct {
	Dark          bool
	Width, Height int // in CSS pixels; 0: 1280 and 800
	ReducedMotion bool
	NoScript      bool
}

// Wide and Narrow are the two widths that pages are made for, in CSS pixels.
const (
	Wide   = 1280
	Narrow = 360
)

// Emulate changes how the tab shows pages. NoScript is for pages that are opened
// afterwards.
func (p *Page) Emulate(look Look) {
	p.t.Helper()
	if look.Width == 0 {
		look.Width = Wide
	}
	if look.Height == 0 {
		look.Height = 800
	}
	choose := func(condition bool, yes, no string) string {
		if condition {
			return yes
		}
		return no
	}
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: choose(look.Dark, "dark", "light")},
		{Name: "prefers-reduced-motion", Value: choose(look.ReducedMotion, "reduce", "no-preference")},
	}})
	if err == nil {
		_, err = chromedp.Call(p.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: int64(look.Width), Height: int64(look.Height), DeviceScaleFactor: 1,
		})
	}
	if err == nil {
		_, err = chromedp.Call(p.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: look.NoScript})
	}
	if err != nil {
		p.t.Fatalf("emulate %+v: %v", look, err)
	}
}
