package browsertest

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"os"
	"path/filepath"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
)

// cameraFile is the film that the browser's one camera shows, in the folder of the
// browser.
const cameraFile = "camera.y4m"

// Size of what the camera shows, in pixels.
const (
	cameraWidth  = 640
	cameraHeight = 480
)

// Camera puts a picture before the browser's camera and says whether pages of the server
// may have it. All profiles have the same camera: tests that use it do not run in parallel.
func (p *Page) Camera(allowed bool, shows image.Image) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(shared.browser.folder, cameraFile), film(shows), 0o600); err != nil {
		p.t.Fatalf("put a picture before the camera: %v", err)
	}
	setting := browser.PermissionSettingDenied
	if allowed {
		setting = browser.PermissionSettingGranted
	}
	_, err := chromedp.Call(p.ctx, browser.SetPermission, browser.SetPermissionParams{
		Permission: &browser.PermissionDescriptor{Name: "camera"}, Setting: setting, Origin: p.base,
		BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID,
	})
	if err != nil {
		p.t.Fatalf("allow the camera: %v", err)
	}
}

// film is a picture in the middle of white, in grey, as two frames of YUV4MPEG2.
func film(shows image.Image) []byte {
	var out bytes.Buffer
	_, _ = fmt.Fprintf(&out, "YUV4MPEG2 W%d H%d F10:1 Ip A1:1 C420jpeg\n", cameraWidth, cameraHeight)
	frame := bytes.Repeat([]byte{0xff}, cameraWidth*cameraHeight)
	frame = append(frame, bytes.Repeat([]byte{0x80}, cameraWidth*cameraHeight/2)...)
	bounds := shows.Bounds()
	left, top := (cameraWidth-bounds.Dx())/2, (cameraHeight-bounds.Dy())/2
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			if grey, ok := color.GrayModel.Convert(shows.At(bounds.Min.X+x, bounds.Min.Y+y)).(color.Gray); ok {
				frame[(top+y)*cameraWidth+left+x] = grey.Y
			}
		}
	}
	for range 2 {
		out.WriteString("FRAME\n")
		out.Write(frame)
	}
	return out.Bytes()
}
