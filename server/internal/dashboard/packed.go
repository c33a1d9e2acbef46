package dashboard

import (
	"bytes"
	"compress/gzip"
	"strconv"
	"strings"
)

// Assets alone are compressed. Pages are not: they hold what must stay secret beside
// what somebody else may have put into them or their address, and the length of the two
// compressed together tells of both (BREACH).

// pack compresses an asset; nil when that gains nothing.
func pack(body []byte) []byte {
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(body)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil || packed.Len() >= len(body) {
		return nil
	}
	return packed.Bytes()
}

// takesGzip reads Accept-Encoding (RFC 9110 section 12.5.3): what is named counts before
// "*", and a weight of 0 is a no.
func takesGzip(accept []string) bool {
	named, any := -1.0, -1.0
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		coding, parameter, _ := strings.Cut(part, ";")
		weight := 1.0
		if q, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(parameter)), "q="); ok {
			var err error
			if weight, err = strconv.ParseFloat(q, 64); err != nil {
				weight = 0
			}
		}
		switch strings.ToLower(strings.TrimSpace(coding)) {
		case "gzip", "x-gzip":
			named = weight
		case "*":
			any = weight
		}
	}
	return named > 0 || named < 0 && any > 0
}
