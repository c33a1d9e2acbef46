package main_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/app/apptest"
)

// A needle is one encoding of something that is looked for.
type needle struct {
	name string // of the secret
	form string
	text []byte
}

// A search looks for many needles at once.
type search struct {
	needles []needle
	byStart [1 << 16][]int // by their first two bytes
	longest int
}

// newSearch looks for each secret as plain text, in hex of both cases, and in
// base64 and base64url as a part of something longer, at each of the three
// alignments.
func newSearch(secrets []apptest.Secret) *search {
	s := &search{}
	for _, secret := range secrets {
		forms := map[string][]byte{
			"plain text": secret.Value,
			"hex":        []byte(hex.EncodeToString(secret.Value)),
			"upper hex":  []byte(strings.ToUpper(hex.EncodeToString(secret.Value))),
		}
		for before := range 3 {
			forms[fmt.Sprintf("base64 after %d bytes", before)] = inner(base64.RawStdEncoding, secret.Value, before)
			forms[fmt.Sprintf("base64url after %d bytes", before)] = inner(base64.RawURLEncoding, secret.Value, before)
		}
		for form, text := range forms {
			s.add(needle{secret.Name, form, text})
		}
	}
	return s
}

// inner is the part of an encoding that depends on value alone, when value
// stands behind so many bytes (modulo 3) of something else.
func inner(encoding *base64.Encoding, value []byte, before int) []byte {
	text := encoding.EncodeToString(append(make([]byte, before), value...))
	first := (before*8 + 5) / 6
	last := (before + len(value)) * 8 / 6
	return []byte(text[first:last])
}

func (s *search) add(n needle) {
	start := int(n.text[0])<<8 | int(n.text[1])
	s.byStart[start] = append(s.byStart[start], len(s.needles))
	s.needles = append(s.needles, n)
	s.longest = max(s.longest, len(n.text))
}

// Found is what was found: for each secret, its forms.
type found map[string][]string

func (f found) note(n needle) {
	if !slices.Contains(f[n.name], n.form) {
		f[n.name] = append(f[n.name], n.form)
	}
}

// in notes in f what is in text. It looks at every byte of a process, which the
// race detector need not watch.
//
//go:norace
func (s *search) in(f found, text []byte) {
	for i := 0; i+1 < len(text); i++ {
		for _, n := range s.byStart[int(text[i])<<8|int(text[i+1])] {
			if bytes.HasPrefix(text[i:], s.needles[n].text) {
				f.note(s.needles[n])
			}
		}
	}
}

// stream is in for what is read piece by piece.
func (s *search) stream(f found, r io.Reader) (int64, error) {
	const piece = 1 << 20
	buffer := make([]byte, piece+s.longest)
	kept, total := 0, int64(0)
	for {
		n, err := io.ReadFull(r, buffer[kept:])
		total += int64(n)
		s.in(f, buffer[:kept+n])
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = nil
			}
			return total, err
		}
		kept = copy(buffer, buffer[len(buffer)-s.longest:])
	}
}

// folder looks at every file below a folder, names included.
func (s *search) folder(t *testing.T, f found, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		s.in(f, []byte(path))
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path) // #nosec G304 -- the test's own folder
		s.in(f, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// memory looks at all that a process has mapped and can read, while it stands
// still, and returns how many bytes that was.
func (s *search) memory(t *testing.T, f found, p *apptest.Process) int64 {
	t.Helper()
	return readMemory(t, p, func(r io.Reader) (int64, error) { return s.stream(f, r) })
}

// readMemory has look read each mapping of a process that stands still.
func readMemory(t *testing.T, p *apptest.Process, look func(io.Reader) (int64, error)) int64 {
	t.Helper()
	p.Signal(syscall.SIGSTOP)
	defer p.Signal(syscall.SIGCONT)
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", p.PID()))
	if err != nil {
		cannotRead(t, err)
	}
	defer func() { _ = maps.Close() }()
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", p.PID()))
	if err != nil {
		cannotRead(t, err)
	}
	defer func() { _ = memory.Close() }()
	total := int64(0)
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[1][0] != 'r' || len(fields) > 5 && strings.HasPrefix(fields[5], "[v") {
			continue // not readable, or the kernel's own
		}
		from, to := span(t, fields[0])
		n, err := look(io.NewSectionReader(memory, from, to-from))
		if err != nil && !errors.Is(err, syscall.EIO) { // beyond the end of a mapped file
			t.Fatalf("memory at %s: %v", lines.Text(), err)
		}
		total += n
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if total < 10<<20 {
		t.Fatalf("only %d bytes of memory could be read: that is not a whole process", total)
	}
	return total
}

// span reads "7f00-7f10".
func span(t *testing.T, text string) (from, to int64) {
	t.Helper()
	low, high, _ := strings.Cut(text, "-")
	from, err := strconv.ParseInt(low, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	if to, err = strconv.ParseInt(high, 16, 64); err != nil {
		t.Fatal(err)
	}
	return from, to
}

// cannotRead ends the test: nothing turns the server's protection off, so its
// memory is for root, or who has CAP_SYS_PTRACE, to read.
func cannotRead(t *testing.T, err error) {
	t.Helper()
	t.Fatalf("the memory of a server can be read by root alone (%v). Run: sudo env \"PATH=$PATH\" make test", err)
}

func TestTheSearchFindsEachFormAtEachPlace(t *testing.T) {
	t.Parallel()
	value := []byte("a secret, \xfb\xef\xff with bytes")
	secrets := []apptest.Secret{{Name: "it", Value: value}, {Name: "another", Value: []byte("not there at all")}}
	s := newSearch(secrets)
	for before := range 5 {
		whole := append(append(bytes.Repeat([]byte{'<'}, before), value...), ">>>>"...)
		for form, text := range map[string]string{
			"plain text": string(whole), "hex": hex.EncodeToString(whole), "upper hex": strings.ToUpper(hex.EncodeToString(whole)),
			fmt.Sprintf("base64 after %d bytes", before%3):    base64.StdEncoding.EncodeToString(whole),
			fmt.Sprintf("base64url after %d bytes", before%3): base64.RawURLEncoding.EncodeToString(whole),
		} {
			for _, noise := range []int{0, 1, 1<<20 - 7, 1 << 20} { // across the border of two pieces, too
				f := found{}
				if _, err := s.stream(f, strings.NewReader(strings.Repeat("\x00", noise)+text)); err != nil {
					t.Fatal(err)
				}
				if !slices.Contains(f["it"], form) || len(f["another"]) > 0 {
					t.Errorf("%s behind %d bytes and %d more: found %v, want it", form, before, noise, f)
				}
			}
		}
	}
}
