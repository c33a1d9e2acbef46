package browser_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/pquerna/otp" //nolint:depguard // for its QR codes alone

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/totp"

	"github.com/tvzero/tokenvault/server/internal/browsertest"
)

const totpURI = "otpauth://totp/Example:ada@example.com?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Example"

// One world does for all of these: nothing of them is stored.
func TestSecretsOfOneTimeCodes(t *testing.T) {
	t.Parallel()
	w := browsertest.New(t, store.SQLite)
	w.Owner.Register()
	p := w.SignedIn(t)
	for _, c := range []struct {
		name string
		test func(t *testing.T, p *browsertest.Page)
	}{
		{"are read in the page as by the server", readsAsTheServer},
		{"make the codes of the standard", makesTheStandardsCodes},
		{"show their code before they are stored", showsTheCode},
		{"come as a picture of a QR code", readsPictures},
		{"do not come by any picture", refusesPictures},
		{"come by the camera", readsByCamera},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := p.For(t)
			p.Open("/tokens/new?type=TOTP")
			p.WantsElement("#send:not([disabled])")
			c.test(t, p)
		})
	}
}

// A reading is what a text says as a key: its fields and its code at a time, or why it is none.
type reading struct {
	Text, Field, Problem               string
	Secret, Algorithm, Issuer, Account string
	Digits, Period                     int
	Code                               string
}

func read(text string, at time.Time) reading {
	k, err := totp.Parse(text)
	var failure *totp.FieldError
	if errors.As(err, &failure) {
		return reading{Text: text, Field: failure.Field, Problem: failure.Problem}
	}
	code, err := k.At(at)
	if err != nil {
		return reading{Text: text, Problem: err.Error()}
	}
	return reading{
		Text: text, Secret: k.Secret(), Algorithm: string(k.Algorithm()), Issuer: k.Issuer(), Account: k.Account(),
		Digits: k.Digits(), Period: int(k.Period() / time.Second), Code: code.Value,
	}
}

// readInPage has the page's own module read texts.
func readInPage(t *testing.T, p *browsertest.Page, texts []string, at time.Time) []reading {
	t.Helper()
	list, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	var got []reading
	p.Eval(`(async () => {
		const { parse, code, FieldError } = await import(document.querySelector("link[data-module=totp]").href);
		return Promise.all(`+string(list)+`.map(async Text => {
			try {
				const k = parse(Text);
				return { Text, Field: "", Problem: "", Secret: k.secret, Algorithm: k.algorithm, Issuer: k.issuer, Account: k.account,
					Digits: k.digits, Period: k.period, Code: (await code(k, `+strconv.FormatInt(at.UnixMilli(), 10)+`)).value };
			} catch (e) {
				return { Text, Field: e instanceof FieldError ? e.field : "", Problem: e instanceof FieldError ? e.problem : String(e) };
			}
		}));
	})()`, &got)
	return got
}

func readsAsTheServer(t *testing.T, p *browsertest.Page) {
	texts := []string{
		"", " - \n", "========", "JBSWY3DPEHPK3PX", "JBSWY3DPEHPK3PX1", "JBSWY3DPEHPK3PXP!", "JBSWY3DPEHPK3PX\u017f", "JBSWY3DPEHPK3PXP\x00", "JBSWY3DPEHPK3PXPJBSWY3",
		"JBSWY3DP====EHPK3PXP", "JBSWY3DPEHPK3PXPJA==", "JBSWY3DPEHPK3PXPJA======", "jbsw-y3dp ehpk\u20133pxp\u00a0jb", strings.Repeat("JBSWY3DP", 26), strings.Repeat("JBSWY3DP", 25) + "JBSWY",
		strings.Repeat(" ", 5000), totpURI, totpURI + "#x", totpURI + "#", totpURI + ";digits=8", totpURI + "&image=a&image=b", totpURI + "&encoder=steam", totpURI + "&issuer=A",
		"otpauth-migration://offline?data=QUJD", "otpauth:totp/a?secret=x", "otpauth://me@totp/a?secret=x", "secret: JBSWY3DP", "otpauth://hotp/a?counter=1&secret=JBSWY3DPEHPK3PXP",
		"otpauth:///a?secret=JBSWY3DPEHPK3PXP", "otpauth://totp:1/a?secret=JBSWY3DPEHPK3PXP", "otpauth://totp/%zz?secret=JBSWY3DPEHPK3PXP", "otpauth://totp/:a:b?secret=JBSWY3DPEHPK3PXP",
		"OTPAUTH://TOTP/?secret=JBSWY3DPEHPK3PXP&algorithm=sha512&digits=8&period=120", "otpauth://totp/M%C3%BCller:j%FFrgen?secret=JBSWY3DPEHPK3PXP", "otpauth://totp/I:a:b?secret=JBSWY3DPEHPK3PXP",
		"otpauth://totp/a?Secret=jbsw%20y3dp-ehpk3pxp&Digits=8", "otpauth://totp/a%00b?secret=JBSWY3DPEHPK3PXP", "otpauth://totp/" + strings.Repeat("a", 257) + "?secret=JBSWY3DPEHPK3PXP",
	}
	texts = append(texts, mutations(3000)...)
	at := time.Unix(1111111111, 0)
	good := 0
	for i, got := range readInPage(t, p, texts, at) {
		want := read(texts[i], at)
		if want.Secret != "" {
			good++
		}
		if got != want {
			t.Errorf("%q:\ngot  %+v\nwant %+v", texts[i], got, want)
		}
	}
	if good < 100 {
		t.Errorf("%d of %d texts were keys, want enough of them to compare", good, len(texts))
	}
}

// mutations are texts near the edge of what is read.
func mutations(count int) []string {
	seeds := []string{totpURI, totpURI + "&algorithm=SHA512&digits=8&period=60", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", "JBSWY3DPEHPK3PXPJA======", "otpauth://totp/%C3%BC%3A%20b?secret=JBSWY3DPEHPK3PXP"}
	parts := []string{
		":", "/", "//", "?", "#", "%", "%zz", "%FF", "%C3%BC", "%00", "%0A", "&", "=", ";", "+", " ", "\u00a0", "\u2013", "\ufeff", "\u0085", "@", "]", "<", "secret", "issuer", "digits", "period", "=6", "=007",
		"=sha256", "JBSWY3DP", "é", "\U0001f600", "\x00", "\x7f", "İ", "ſ", "0", "8", "otpauth", "hotp", "%74", strings.Repeat("J", 120), strings.Repeat("i", 257),
	}
	r := rand.New(rand.NewPCG(6, 238))
	var out []string
	for len(out) < count {
		text := seeds[r.IntN(len(seeds))]
		for range 1 + r.IntN(3) {
			from := r.IntN(len(text) + 1)
			to := min(len(text), from+r.IntN(6)*r.IntN(2))
			text = text[:from] + parts[r.IntN(len(parts))] + text[to:]
		}
		// Of two parameters that both stand twice, package totp names either; and what is in brackets
		// is told apart in more ways than a page needs.
		if utf8.ValidString(text) && !doubled.MatchString(text) {
			out = append(out, text)
		}
	}
	return out
}

var doubled = regexp.MustCompile(`(?i)(secret.*secret.*(issuer|digits|period|algorithm)|issuer.*issuer|digits.*digits|period.*period|algorithm.*algorithm)`)

// RFC 6238, appendix B.
func makesTheStandardsCodes(t *testing.T, p *browsertest.Page) {
	key := func(algorithm, secret string) string {
		return "otpauth://totp/rfc?digits=8&algorithm=" + algorithm + "&secret=" + secret
	}
	one := key("SHA1", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
	two := key("SHA256", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA")
	three := key("SHA512", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNA")
	for at, want := range map[int64][3]string{
		59: {"94287082", "46119246", "90693936"}, 1111111109: {"07081804", "68084774", "25091201"}, 1111111111: {"14050471", "67062674", "99943326"},
		1234567890: {"89005924", "91819424", "93441116"}, 2000000000: {"69279037", "90698825", "38618901"}, 20000000000: {"65353130", "77737706", "47863826"},
	} {
		for i, got := range readInPage(t, p, []string{one, two, three}, time.Unix(at, 0)) {
			if got.Code != want[i] {
				t.Errorf("at %d: got %s (%s), want %s", at, got.Code, got.Problem, want[i])
			}
		}
	}
}

func showsTheCode(t *testing.T, p *browsertest.Page) {
	p.Fill("Secret", totpURI)
	p.Wants("For Example, ada@example.com: 6 digits, every 30 seconds, SHA1.")
	if service, display := p.Value("Service name"), p.Value("css:#f-serviceName"); service != "example" || display != "example" {
		t.Errorf("the suggested name is %q, want example", service)
	}
	shown := ""
	key, err := totp.Parse(totpURI)
	if err != nil {
		t.Fatal(err)
	}
	p.WantsElement("#preview.on")
	before := time.Now()
	p.Eval(`document.getElementById("preview-code").textContent`, &shown)
	if code := strings.ReplaceAll(shown, " ", ""); !key.Verify(code, before, 1) {
		t.Errorf("the page shows %q, want the code of now", shown)
	}
	// What was suggested gives way; what was typed stays.
	p.Fill("Secret", strings.ReplaceAll(totpURI, "Example", "Another"))
	p.Wants("For Another")
	if got := p.Value("Service name"); got != "another" {
		t.Errorf("after another secret the name is %q, want another", got)
	}
	p.Fill("Service name", "mine")
	p.Fill("Secret", totpURI)
	p.Wants("For Example")
	if got := p.Value("Service name"); got != "mine" {
		t.Errorf("a name that was typed became %q, want it kept", got)
	}
	p.Fill("Secret", "JBSWY3DPEHPK3PX1")
	p.Wants("The secret has a character that is not Base32 (A to Z, 2 to 7).", "––– –––")
	p.Click("Seal and store")
	if at := p.Path(); at != "/tokens/new?type=TOTP" {
		t.Errorf("a secret that makes no codes led to %s, want it not sent", at)
	}
}

// qrCode is a QR code with a white edge, made by another library than the one that reads it.
func qrCode(t *testing.T, text string) image.Image {
	t.Helper()
	key, err := otp.NewKeyFromURL(text)
	if err != nil {
		t.Fatal(err)
	}
	code, err := key.Image(320, 320)
	if err != nil {
		t.Fatal(err)
	}
	out := image.NewRGBA(image.Rect(0, 0, 400, 400))
	draw.Draw(out, out.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.Draw(out, image.Rect(40, 40, 360, 360), code, image.Point{}, draw.Src)
	return out
}

func asPNG(t *testing.T, picture image.Image) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := png.Encode(&out, picture); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// hand gives the page a file as a person does: it drops it on a part of the page, or
// pastes it.
func hand(p *browsertest.Page, how, on, name, kind string, content []byte) {
	event := map[string]string{
		"drop":  `new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })`,
		"paste": `new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })`,
	}[how]
	p.Eval(`(() => {
		const data = new DataTransfer();
		const bytes = Uint8Array.from(atob("`+base64.StdEncoding.EncodeToString(content)+`"), c => c.charCodeAt(0));
		data.items.add(new File([bytes], "`+name+`", { type: "`+kind+`" }));
		document.querySelector("`+on+`").dispatchEvent(`+event+`);
	})()`, nil)
}

func readsPictures(t *testing.T, p *browsertest.Page) {
	code := qrCode(t, totpURI)
	const read = "Read: the secret is filled in below. Nothing was sent."
	var photo bytes.Buffer
	large := image.NewRGBA(image.Rect(0, 0, 3000, 2000)) // where it is a small part, as on a picture of a screen
	draw.Draw(large, large.Bounds(), image.NewUniform(color.Gray{Y: 210}), image.Point{}, draw.Src)
	draw.Draw(large, image.Rect(1200, 700, 1600, 1100), code, image.Point{}, draw.Src)
	if err := jpeg.Encode(&photo, large, nil); err != nil {
		t.Fatal(err)
	}
	inverted := image.NewRGBA(code.Bounds())
	for y := range 400 {
		for x := range 400 {
			r, g, b, _ := code.At(x, y).RGBA()
			inverted.Set(x, y, color.RGBA{uint8(255 - r>>8), uint8(255 - g>>8), uint8(255 - b>>8), 255})
		}
	}
	chosen := filepath.Join(t.TempDir(), "code.png")
	if err := os.WriteFile(chosen, asPNG(t, code), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, give := range map[string]func(){
		"chosen":               func() { p.Upload("#qr-file", chosen) },
		"dropped on the box":   func() { hand(p, "drop", "#qr", "code.png", "image/png", asPNG(t, code)) },
		"dropped on the field": func() { hand(p, "drop", "#f-totpSecret", "code.png", "image/png", asPNG(t, code)) },
		"pasted":               func() { hand(p, "paste", "body", "code.png", "image/png", asPNG(t, code)) },
		"a photograph":         func() { hand(p, "drop", "#qr", "photo.jpg", "image/jpeg", photo.Bytes()) },
		"white on black":       func() { hand(p, "drop", "#qr", "dark.png", "image/png", asPNG(t, inverted)) },
	} {
		p.Fill("Secret", "")
		p.Eval(`document.getElementById("qr-said").textContent = ""`, nil)
		give()
		p.Wants(read)
		if got := p.Value("Secret"); got != totpURI {
			t.Errorf("%s: the secret is %q, want that of the QR code", name, got)
		}
	}
	for _, request := range p.Requests() {
		if strings.HasPrefix(request, "POST") || strings.Contains(request, "secret") {
			t.Errorf("the page asked for %s, want nothing sent", request)
		}
	}
}

func refusesPictures(t *testing.T, p *browsertest.Page) {
	blank := image.NewRGBA(image.Rect(0, 0, 50, 50))
	p.Eval(`(() => {
		const data = new DataTransfer();
		data.items.add(new File([new Uint8Array((10 << 20) + 1)], "x.png", { type: "image/png" }));
		document.getElementById("qr").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
	})()`, nil)
	p.Wants("This picture is larger than 10 MiB.")
	for _, c := range []struct {
		name, kind string
		content    []byte
		want       string
	}{
		{"no QR code", "image/png", asPNG(t, blank), "There is no QR code in this picture that could be read."},
		{"no picture", "image/png", []byte("not a picture"), "This picture cannot be read."},
		{"another key", "image/png", asPNG(t, qrCode(t, "otpauth://hotp/a?counter=1&secret=JBSWY3DPEHPK3PXP")), "its key cannot be used: the type is hotp"},
		{"something else", "image/png", asPNG(t, qrCode(t, "https://example.com/secret-invitation")), "holds something else than a secret for one-time codes"},
	} {
		hand(p, "drop", "#qr", "x.png", c.kind, c.content)
		p.Wants(c.want)
		if got := p.Value("Secret"); got != "" {
			t.Errorf("%s: the secret became %q, want it left alone", c.name, got)
		}
		p.Lacks("secret-invitation")
	}
}

func readsByCamera(t *testing.T, p *browsertest.Page) {
	p.Camera(false, qrCode(t, totpURI))
	p.Click("Use the camera")
	p.Wants("The camera was refused. Allow it for this page")

	p.Camera(true, image.NewRGBA(image.Rect(0, 0, 10, 10)))
	p.Click("Use the camera")
	p.Wants("Hold the QR code before the camera.")
	p.WantsElement("#qr-video")
	p.Eval(`globalThis.seen = document.getElementById("qr-video").srcObject.getTracks()[0]`, nil)
	p.Click("Stop the camera")
	p.Lacks("Hold the QR code")
	state := ""
	if p.Eval(`globalThis.seen.readyState`, &state); state != "ended" || p.Count("#qr-video") != 0 {
		t.Errorf("after “Stop”, the camera is %s, want it ended and out of sight", state)
	}

	p.Camera(true, qrCode(t, totpURI))
	p.Click("Use the camera")
	p.Eval(`globalThis.seen = document.getElementById("qr-video").srcObject?.getTracks()[0]`, nil)
	p.Wants("Read: the secret is filled in below.")
	if got := p.Value("Secret"); got != totpURI {
		t.Errorf("the secret is %q, want that of the QR code", got)
	}
	if p.Eval(`globalThis.seen?.readyState ?? "ended"`, &state); state != "ended" {
		t.Errorf("after reading, the camera is %s, want it ended", state)
	}

	p.Expect(`(?i)permissions policy`)
	p.Open("/tokens/new?type=PlainText")
	p.Eval(`navigator.mediaDevices.getUserMedia({ video: true }).then(() => "given", e => e.name)`, &state)
	if state != "NotAllowedError" {
		t.Errorf("another page's request for the camera: %s, want NotAllowedError by the page's policy", state)
	}
}
