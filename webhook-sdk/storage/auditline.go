package storage

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash/crc32"
	"strconv"
)

// A line of the audit log is
//
//	{"crc":"xxxxxxxx","n":1,"t":1767225600000,"data":{…}}
//
// where crc is the CRC-32C, in lower-case hex, of everything between its own comma and
// the end of the line, n numbers the records without a gap, and t is the record's time in
// Unix milliseconds.
const (
	crcBefore  = `{"crc":"`
	crcAfter   = `",`
	checkedAt  = len(crcBefore) + 8 + len(crcAfter)
	numberName = `"n":`
	timeName   = `,"t":`
	dataName   = `,"data":`
)

// line is what the index needs to know of one.
type line struct {
	number uint64
	time   int64 // Unix milliseconds
	size   int   // bytes, with the end of the line
}

func appendLine(out []byte, number uint64, at int64, data []byte) []byte {
	start := len(out)
	out = append(out, crcBefore+"00000000"+crcAfter+numberName...)
	out = strconv.AppendUint(out, number, 10)
	out = append(out, timeName...)
	out = strconv.AppendInt(out, at, 10)
	out = append(out, dataName...)
	out = append(out, data...)
	out = append(out, '}')
	sum := checksum(out[start+checkedAt:])
	copy(out[start+len(crcBefore):], sum[:])
	return append(out, '\n')
}

// checksum is the CRC-32C as 8 hex digits.
func checksum(data []byte) (out [8]byte) {
	var sum [4]byte
	binary.BigEndian.PutUint32(sum[:], crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
	hex.Encode(out[:], sum[:])
	return out
}

// parseLine reads a line without its end. Its size counts the end.
func parseLine(text []byte) (l line, data json.RawMessage, ok bool) {
	if len(text) < checkedAt || string(text[:len(crcBefore)]) != crcBefore ||
		string(text[checkedAt-len(crcAfter):checkedAt]) != crcAfter {
		return line{}, nil, false
	}
	checked := text[checkedAt:]
	if sum := checksum(checked); string(text[len(crcBefore):len(crcBefore)+8]) != string(sum[:]) {
		return line{}, nil, false
	}
	rest, okNumber := bytes.CutPrefix(checked, []byte(numberName))
	number, rest, okTime := bytes.Cut(rest, []byte(timeName))
	at, rest, okData := bytes.Cut(rest, []byte(dataName))
	data, okEnd := bytes.CutSuffix(rest, []byte("}"))
	if !okNumber || !okTime || !okData || !okEnd {
		return line{}, nil, false
	}
	n, errNumber := strconv.ParseUint(string(number), 10, 64)
	t, errTime := strconv.ParseInt(string(at), 10, 64)
	if errNumber != nil || errTime != nil {
		return line{}, nil, false
	}
	return line{number: n, time: t, size: len(text) + 1}, data, true
}
