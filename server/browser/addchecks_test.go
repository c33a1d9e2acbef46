package browser_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tvzero/tokenvault/models/store"
	"github.com/tvzero/tokenvault/webhook-sdk/credential"

	"github.com/tvzero/tokenvault/server/internal/browsertest"
)

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err) // by the standard library, on what it made itself
	}
	return value
}

// signers are keys of every kind that certificates and SSH have.
func signers() map[string]crypto.Signer {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{
		"RSA": must(rsa.GenerateKey(rand.Reader, 2048)), "Ed25519": must(ed, err),
		"P-256": must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), "P-384": must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		"P-521": must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
	}
}

// certify is a certificate for a key, signed by itself, that ends at a time.
func certify(key crypto.Signer, name string, until time.Time) string {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-100 * 24 * time.Hour), NotAfter: until,
	}
	return block("CERTIFICATE", must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)))
}

// forms are the ways in which a key is written.
func forms(key crypto.Signer) map[string]string {
	out := map[string]string{
		"PKCS #8":               block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))),
		"OpenSSH":               string(pem.EncodeToMemory(must(ssh.MarshalPrivateKey(key, "ada@host")))),
		"OpenSSH, encrypted":    string(pem.EncodeToMemory(must(ssh.MarshalPrivateKeyWithPassphrase(key, "ada@host", []byte("open sesame"))))),
		"OpenSSH, with returns": strings.ReplaceAll(string(pem.EncodeToMemory(must(ssh.MarshalPrivateKey(key, "ada@host")))), "\n", "\r\n"),
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		out["PKCS #1"] = block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
		//nolint:staticcheck // old, and in use
		out["PKCS #1, encrypted"] = string(pem.EncodeToMemory(must(x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), []byte("x"), x509.PEMCipherAES128))))
	case *ecdsa.PrivateKey:
		out["SEC 1"] = block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(key)))
	}
	return out
}

// found is what the page's module says of a text.
type found struct {
	Error, Kind, Fingerprint, Comment, Public, Subject, Until string
	Encrypted                                                 bool
}

// inPage has the page's module read texts as a kind: "certificate", "privateKey", "sshKey".
func inPage(t *testing.T, p *browsertest.Page, as string, texts ...string) []found {
	t.Helper()
	list := must(json.Marshal(texts))
	var got []found
	p.Eval(`(async () => {
		const pem = await import(document.querySelector("link[data-module=pem]").href);
		return Promise.all(`+string(list)+`.map(async text => {
			try {
				const k = await pem.`+as+`(text);
				return { Error: "", Kind: k.kind ?? k.key, Fingerprint: k.fingerprint ?? "", Comment: k.comment ?? "", Encrypted: k.encrypted ?? false,
					Public: k.public?.text ?? "", Subject: k.subject ?? "", Until: k.until?.toISOString() ?? "" };
			} catch (e) {
				return { Error: e instanceof pem.Refusal ? e.message : "broken: " + e.stack };
			}
		}));
	})()`, &got)
	return got
}

// taken reports whether who stores a credential takes it.
func taken(kind, field, text string) bool {
	fields := map[string]json.RawMessage{"tokenType": must(json.Marshal(kind)), field: must(json.Marshal(text))}
	_, err := credential.Parse(fields, credential.Options{})
	return err == nil
}

// One world does for all of these: nothing of them is stored.
func TestKeysAndCertificates(t *testing.T) {
	t.Parallel()
	w := browsertest.New(t, store.SQLite)
	w.Owner.Register()
	p := w.SignedIn(t)
	for _, c := range []struct {
		name string
		test func(t *testing.T, p *browsertest.Page)
	}{
		{"are read in the page as they are", readsKeys},
		{"are named where they are none", namesOthers},
		{"break nothing where they are damaged", survivesDamage},
		{"are checked before they are sent", checksCertificates},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := p.For(t)
			p.Open("/tokens/new?type=Certificate")
			p.WantsElement("#send:not([disabled])")
			c.test(t, p)
		})
	}
}

// survivesDamage has the page read keys and certificates with a few bytes changed: they
// are read or refused, and nothing else.
func survivesDamage(t *testing.T, p *browsertest.Page) {
	key := signers()["P-256"]
	for as, text := range map[string]string{"certificate": certify(key, "x", time.Now().Add(time.Hour)), "privateKey": forms(key)["SEC 1"], "sshKey": forms(key)["OpenSSH"]} {
		whole, _ := pem.Decode([]byte(text))
		var texts []string
		for i := range len(whole.Bytes) {
			damaged := slices.Clone(whole.Bytes)
			damaged[i] ^= 1 << (i % 8)
			texts = append(texts, block(whole.Type, damaged), block(whole.Type, whole.Bytes[:i]))
		}
		refused := 0
		for i, got := range inPage(t, p, as, texts...) {
			if strings.HasPrefix(got.Error, "broken:") {
				t.Errorf("%s with byte %d damaged: %s", as, i/2, got.Error)
			}
			if got.Error != "" {
				refused++
			}
		}
		if refused < len(texts)/2 {
			t.Errorf("%s: %d of %d damaged ones were refused, want those that were cut off at least", as, refused, len(texts))
		}
	}
}

func readsKeys(t *testing.T, p *browsertest.Page) {
	until := time.Now().Add(90 * 24 * time.Hour).UTC().Truncate(time.Second)
	publics := map[string]string{}
	for name, key := range signers() {
		certificate := certify(key, "client of "+name, until)
		got := inPage(t, p, "certificate", certificate)[0]
		if want := until.Format("2006-01-02T15:04:05.000Z"); got.Error != "" || got.Subject != "client of "+name || got.Until != want || !strings.Contains(got.Kind, strings.TrimPrefix(name, "P-")) {
			t.Errorf("%s: the certificate is read as %+v, want it for %q until %s", name, got, "client of "+name, want)
		}
		if other, twice := publics[got.Public]; twice || got.Public == "" {
			t.Errorf("%s: the public key is %q, that of %s too; want it its own", name, got.Public, other)
		}
		publics[got.Public] = name
		fingerprint := ssh.FingerprintSHA256(must(ssh.NewPublicKey(key.Public())))
		for form, text := range forms(key) {
			encrypted := strings.Contains(form, "encrypted")
			k, s := inPage(t, p, "privateKey", text)[0], inPage(t, p, "sshKey", text)[0]
			if !strings.Contains(form, "OpenSSH") && (k.Error != "" || k.Encrypted != encrypted || !encrypted && k.Public != got.Public) {
				t.Errorf("%s, %s: the private key is read as %+v, want the public key %q", name, form, k, got.Public)
			}
			if s.Error != "" || s.Encrypted != encrypted || (form != "PKCS #1, encrypted" && s.Fingerprint != fingerprint) {
				t.Errorf("%s, %s: as SSH key it is read as %+v, want the fingerprint %s", name, form, s, fingerprint)
			}
			if strings.HasPrefix(form, "OpenSSH") && !encrypted && s.Comment != "ada@host" {
				t.Errorf("%s, %s: the comment is %q, want ada@host", name, form, s.Comment)
			}
			if !taken("SSHKey", "sshPrivateKey", text) {
				t.Errorf("%s, %s: it would not be stored, want the page to agree with who stores it", name, form)
			}
		}
	}
}

func namesOthers(t *testing.T, p *browsertest.Page) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private := forms(key)["PKCS #8"]
	certificate := certify(key, "x", time.Now().Add(time.Hour))
	openSSH := forms(key)["OpenSSH"]
	for _, c := range []struct{ name, as, text, want string }{
		{"a public key", "sshKey", string(ssh.MarshalAuthorizedKey(must(ssh.NewPublicKey(key.Public())))), "This is a public key"},
		{"a public key in PEM", "sshKey", block("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(key.Public()))), "This is a public key"},
		{"a certificate", "sshKey", certificate, "This is a certificate, not an SSH key."},
		{"PuTTY's", "sshKey", "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", "This is a key of PuTTY."},
		{"an encrypted PKCS #8", "sshKey", block("ENCRYPTED PRIVATE KEY", []byte{0x30, 0}), "OpenSSH's format is needed"},
		{"half of one", "sshKey", openSSH[:150], "Its end is missing"},
		{"one on one line", "sshKey", strings.ReplaceAll(openSSH, "\n", " "), "Its line breaks are lost"},
		{"one with \\n", "sshKey", strings.ReplaceAll(openSSH, "\n", `\n`), `Its line breaks are written as \n`},
		{"a damaged one", "sshKey", strings.Replace(openSSH, "b3Blb", "*****", 1), "It is damaged between"},
		{"a shortened one", "sshKey", block("OPENSSH PRIVATE KEY", []byte("openssh-key-v1\x00\x00\x00\x00\x04none")), "This key cannot be read"},
		{"an empty one", "sshKey", block("OPENSSH PRIVATE KEY", nil), "This key cannot be read"},
		{"a wrong length", "sshKey", block("OPENSSH PRIVATE KEY", []byte("openssh-key-v1\x00\xff\xff\xff\xff")), "This key cannot be read"},
		{"words", "sshKey", "correct horse", "This is not an SSH key in PEM"},
		{"a long text", "sshKey", strings.Repeat("x", 65<<10), "This is longer than 64 KiB"},
		{"two keys", "sshKey", openSSH + openSSH, "There is more than one key in it"},
		{"a key", "certificate", private, "A private key is in it."},
		{"both", "certificate", certificate + private, "A private key is in it."},
		{"a request", "certificate", block("CERTIFICATE REQUEST", []byte{1}), "This is a request for a certificate"},
		{"no DER", "certificate", block("CERTIFICATE", []byte("hello")), "This certificate cannot be read"},
		{"half of its DER", "certificate", block("CERTIFICATE", must(x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, key.Public(), key))[:90]), "This certificate cannot be read"},
		{"text behind it", "certificate", certificate + "and more", "There is other text after the certificate."},
		{"words as one", "certificate", "correct horse", "This is no certificate in PEM"},
		{"17 of them", "certificate", strings.Repeat(certificate, 17), "There are more than 16 certificates"},
		{"a certificate as its key", "privateKey", certificate, "This is a certificate, not a private key."},
		{"OpenSSH's as its key", "privateKey", openSSH, "This is a key of OpenSSH's own format."},
		{"no DER as its key", "privateKey", block("PRIVATE KEY", []byte("hello")), "This private key cannot be read"},
		{"no key but parameters", "privateKey", block("EC PARAMETERS", []byte{5, 0}), "The private key is missing after its parameters."},
	} {
		got := inPage(t, p, c.as, c.text)[0]
		if !strings.HasPrefix(got.Error, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got.Error, c.want)
		}
		kind, field := "SSHKey", "sshPrivateKey"
		if c.as == "certificate" {
			kind, field = "Certificate", "certificateData"
		}
		// Other text behind a key is nothing to who stores it, but was hardly meant.
		if c.as != "privateKey" && c.name != "two keys" && taken(kind, field, c.text) {
			t.Errorf("%s: who stores it takes it, want the page to refuse only what they do", c.name)
		}
	}
}

func checksCertificates(t *testing.T, p *browsertest.Page) {
	all := signers()
	p.Fill("Certificate", certify(all["P-256"], "client.example.com", time.Now().Add(91*24*time.Hour)))
	p.Wants("For client.example.com, issued by client.example.com; ECDSA, P-256.", "90 more days.")
	if got := p.Value("Service name"); got != "client.example.com" {
		t.Errorf("the suggested name is %q, want client.example.com", got)
	}
	p.Fill("Private key", forms(all["RSA"])["PKCS #8"])
	p.Wants("It is not the private key of the certificate above.")
	p.Click("Seal and store")
	p.Wants("It is not the private key of the certificate above.")
	if at := p.Path(); at != "/tokens/new?type=Certificate" {
		t.Errorf("a wrong key led to %s, want it not sent", at)
	}
	p.Fill("Private key", forms(all["P-256"])["SEC 1"])
	p.Wants("It is the certificate's own.")
	p.Fill("Certificate", certify(all["P-256"], "client.example.com", time.Now().Add(-49*time.Hour)))
	p.Wants("It expired on ", "It can be stored, but hardly be used.", "It is the certificate's own.")

	p.Open("/tokens/new?type=Certificate")
	p.WantsElement("#send:not([disabled])")
	binary, _ := pem.Decode([]byte(certify(all["RSA"], "binary.example.com", time.Now().Add(time.Hour))))
	hand(p, "drop", "#f-certificateData", "client.cer", "application/pkix-cert", binary.Bytes)
	p.Wants("For binary.example.com")
	hand(p, "drop", "#f-privateKeyData", "key.pem", "", []byte(forms(all["RSA"])["PKCS #1"]))
	p.Wants("It is the certificate's own.")
	hand(p, "drop", "#f-certificateData", "client.p12", "application/x-pkcs12", []byte{0x30, 0x82, 0xff, 0xff, 0x00})
	p.Wants("This file is no certificate that can be read. Of a .p12 or .pfx file")
	hand(p, "drop", "#f-privateKeyData", "key.bin", "", []byte{0xff, 0xfe, 0x00})
	p.Wants("This file is not text.")
	hand(p, "drop", "#f-privateKeyData", "key.pem", "", make([]byte, 1<<20+1))
	p.Wants("This file is larger than 1 MiB")
}

func TestWhatIsPastedIsNamed(t *testing.T) {
	t.Parallel()
	w := browsertest.New(t, store.SQLite)
	w.Bound()
	p := w.SignedIn(t)
	account := `{"type":"service_account","project_id":"p","private_key_id":"k","private_key":"-----BEGIN PRIVATE KEY-----","client_email":"robot@p.iam.gserviceaccount.com","token_uri":"https://oauth2.googleapis.com/token"}`
	const useless = "It can be stored, but nothing can be fetched of it yet"
	for _, c := range []struct {
		kind, text string
		service    string
		want       []string
	}{
		{"PlainText", "ghp_" + strings.Repeat("a", 36), "github", []string{"Recognized: GitHub personal access token (classic)."}},
		{"PlainText", "github_pat_" + strings.Repeat("a", 50), "github", []string{"GitHub personal access token (fine-grained)"}},
		{"PlainText", "glpat-" + strings.Repeat("a", 20), "gitlab", []string{"GitLab personal access token"}},
		{"PlainText", "xoxb-123456789012-abcdef", "slack", []string{"Slack token"}},
		{"PlainText", "sk-ant-" + strings.Repeat("a", 30), "anthropic", []string{"Anthropic API key"}},
		{"PlainText", "sk-" + strings.Repeat("a", 40), "openai", []string{"OpenAI API key"}},
		{"PlainText", "sk_live_" + strings.Repeat("a", 24), "stripe", []string{"Stripe API key"}},
		{"PlainText", "tvagent_" + strings.Repeat("a", 60), "", []string{"Recognized: key of Token Vault itself."}},
		{"PlainText", "-----BEGIN RSA PRIVATE KEY-----\nx", "", []string{"Recognized: RSA private key in PEM, as GitHub Apps have.", "This is a private key, not a token. Choose “SSH key” or “Certificate”."}},
		{"PlainText", account, "google", []string{"Kept like this, they get the whole key."}},
		{"PlainText", "Bearer abc", "", []string{"It begins with the word “Bearer”"}},
		{"PlainText", "API_KEY=abc", "", []string{"It looks like a line of an environment file."}},
		{"PlainText", "two words", "", []string{"It has white space in it"}},
		{"PlainText", totpURI, "", []string{"This belongs to the type “One-time codes”."}},
		{"OAuth", "ghp_" + strings.Repeat("a", 36), "github", []string{"“API key or access token” is the type for it."}},
		{"JWT", "ghp_" + strings.Repeat("a", 36), "github", []string{"This is no JWT"}},
		{"JWT", "eyJhbGciOiJub25lIn0.eyJpc3MiOiJtZSIsImV4cCI6MTAwMDAwMDAwMH0.x", "", []string{"Recognized: JWT (Issuer: me).", "It has expired."}},
		{"RawCredential", account, "google", []string{"Recognized: Google service account (Account: robot@p.iam.gserviceaccount.com, Project: p).", "Agents get access tokens for an hour that your webhook makes from it"}},
		{"RawCredential", strings.Replace(account, "client_email", "mail", 1), "google", []string{"No tokens can be made from it: it lacks client_email."}},
		{"RawCredential", strings.Replace(account, "oauth2.googleapis.com", "evil.example", 1), "google", []string{"Its token_uri is not an address of Google's."}},
		{"RawCredential", "aws_access_key_id = AKIAABCDEFGHIJKLMNOP\naws_secret_access_key = " + strings.Repeat("aB3/", 10), "aws", []string{"AWS access key pair (Access key: AKIAABCDEFGHIJKLMNOP)", useless}},
		{"RawCredential", "AKIAABCDEFGHIJKLMNOP", "aws", []string{"The secret access key is missing"}},
		{"RawCredential", `{"appId":"a","password":"p","tenant":"t"}`, "azure", []string{"Azure service principal (Client: a, Tenant: t)", useless}},
		{"RawCredential", `{"app_id":7,"private_key":"-----BEGIN RSA PRIVATE KEY-----"}`, "github", []string{"GitHub App (App: 7)", useless}},
		{"RawCredential", "apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    server: https://k.example:6443\ncurrent-context: prod", "kubernetes", []string{"kubeconfig (Cluster: k.example:6443, Context: prod)", useless}},
		{"RawCredential", `{"type":"serv`, "", []string{"JSON that is not whole"}},
		{"RawCredential", `{"x":[1]}`, "", []string{"JSON of a kind that is not known here", useless}},
		{"RawCredential", "null", "", []string{useless}},
		{"RawCredential", "xoxb-123456789012-abcdef", "slack", []string{"That is better kept as “API key or access token”"}},
	} {
		if !strings.Contains(p.URL(), "type="+c.kind) {
			p.Open("/tokens/new?type=" + c.kind)
			p.WantsElement("#send:not([disabled])")
		}
		p.Fill("css:#f-accessToken", c.text)
		p.Wants(c.want...)
		if got := p.Value("Service name"); got != c.service {
			t.Errorf("%.40s: the suggested name is %q, want %q", c.text, got, c.service)
		}
	}
	for _, request := range p.Requests() {
		if strings.HasPrefix(request, "POST") {
			t.Errorf("the page asked for %s, want nothing sent", request)
		}
	}
}
