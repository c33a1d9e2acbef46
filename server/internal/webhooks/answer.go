package webhooks

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

// maxDepth is how deep the JSON of an answer may nest; the protocol needs six.
const maxDepth = 32

// An answer is what a webhook said, read within limits and not yet believed.
type answer struct {
	status      int
	contentType string // media type, without parameters; clipped
	encoded     bool   // bears a Content-Encoding that nobody asked for
	location    bool   // bears a Location
	body        []byte
}

// readAnswer reads the body of an answer: up to limit bytes of a success
// (netguard.ErrTooLarge beyond), and of anything else as much as an error needs.
func readAnswer(r *http.Response, limit int64) (*answer, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		media = r.Header.Get("Content-Type")
	}
	a := &answer{
		status: r.StatusCode, contentType: clip(media, 60),
		encoded: r.Header.Get("Content-Encoding") != "", location: r.Header.Get("Location") != "",
	}
	if !a.success() {
		// A broken or endless error page is still an error with a status.
		a.body, _ = io.ReadAll(io.LimitReader(r.Body, maxError))
		return a, nil
	}
	a.body, err = io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err == nil && int64(len(a.body)) > limit {
		err = netguard.ErrTooLarge
	}
	return a, err
}

func (a *answer) success() bool { return a.status/100 == 2 }

func (a *answer) isJSON() bool { return a.contentType == "application/json" && !a.encoded }

// decode reads a success into out. requestID, if the answer repeats one, must be
// that of the request: otherwise a cache answered.
func (a *answer) decode(requestID string, out any) *failure {
	if a.encoded {
		return a.misbehaved(nil, "The webhook's answer is compressed, which was not asked for. Check what stands between the server and the webhook.")
	}
	if !a.isJSON() {
		return a.misbehaved(nil, "The webhook answered with %q instead of application/json. Check that the URL leads to the webhook itself and not to a login page or proxy.", a.contentType)
	}
	if err := checkDepth(a.body, maxDepth); err != nil {
		return a.misbehaved(err, "The webhook's answer nests deeper than %d levels. Check that the URL leads to a Token Vault webhook.", maxDepth)
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		// The decoder's words may quote the answer: they stay out.
		return a.misbehaved(nil, "The webhook's answer is not the JSON that the protocol asks for. Check that the URL leads to a Token Vault webhook, and update it.")
	}
	if repeated := repeatedID(out); requestID != "" && repeated != "" && repeated != requestID {
		return a.misbehaved(nil, "The webhook answered another request than the one that was sent. Check that no cache stands before it.")
	}
	return nil
}

// repeatedID is the request id that an answer repeats; one that repeats none is
// taken as it is.
func repeatedID(out any) string {
	switch said := out.(type) {
	case *wire.HealthResponse:
		return said.RequestID
	case *wire.StorageResponse:
		return said.RequestID
	case *listPage:
		return said.RequestID
	case *wire.RefreshNotifyResponse:
		return said.RequestID
	case *wire.RefreshResponse:
		return said.RequestID
	}
	return ""
}

// misbehaved is a WEBHOOK_UNAVAILABLE that another attempt would not change.
func (a *answer) misbehaved(cause error, format string, args ...any) *failure {
	return &failure{fault: fault.Wrap(errors.Join(&AnswerError{Status: a.status}, cause), fault.WebhookUnavailable, format, args...)}
}

// refused reads the webhook's own error, zero when it gave none.
func (a *answer) refused() wire.Error {
	var e wire.Error
	if !a.isJSON() || checkDepth(a.body, maxDepth) != nil || json.Unmarshal(a.body, &e) != nil {
		return wire.Error{}
	}
	e.Code, e.Message = wire.ErrorCode(clip(string(e.Code), 40)), clip(e.Message, 200)
	return e
}

var errDepth = errors.New("webhooks: the answer nests too deep")

// checkDepth reports errDepth when brackets outside strings nest deeper than
// most. Whether the text is JSON at all is the decoder's to say.
func checkDepth(raw []byte, most int) error {
	depth, inString, escaped := 0, false, false
	for _, c := range raw {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped = c == '\\'
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			if depth++; depth > most {
				return errDepth
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}
