package pdu_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pdu"
)

var update = flag.Bool("update", false, "write the texts of testdata/pdu anew from the bytes")

const vectorDir = "../../testdata/pdu"

// vector is a frame of testdata/pdu. The files hold blocks separated by empty lines, made of lines "key: value", which
// indented lines continue. Keys: name; note; from (client, server); hex, the frame; and either text, the message in
// protobuf text format, or error, what reading or decoding ends with.
type vector struct {
	name, note, text, err string
	from                  pdu.Direction
	frame                 []byte
}

// vectorErrors are the errors that a vector can name; body stands for any fault of the message.
func vectorErrors() map[string]error {
	return map[string]error{
		"length":         pdu.ErrLength,
		"too large":      pdu.ErrTooLarge,
		"unexpected EOF": io.ErrUnexpectedEOF,
		"no message":     pdu.ErrNoMessage,
		"body":           nil,
	}
}

func readVectors(t testing.TB) map[string][]vector {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(vectorDir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors in %s: %v", vectorDir, err)
	}
	all := make(map[string][]vector)
	seen := make(map[string]bool)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range strings.Split(string(content), "\n\n") {
			v, err := parseVector(block)
			if err != nil {
				t.Fatalf("%s: %v in\n%s", file, err, block)
			}
			if v.name == "" {
				continue
			}
			if seen[v.name] {
				t.Fatalf("%s: two vectors named %s", file, v.name)
			}
			seen[v.name] = true
			all[file] = append(all[file], v)
		}
	}
	return all
}

func parseVector(block string) (vector, error) {
	var v vector
	fields := make(map[string]string)
	key := ""
	for line := range strings.Lines(block) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "  "):
			fields[key] += strings.TrimSpace(line)
		default:
			var value string
			var ok bool
			if key, value, ok = strings.Cut(line, ":"); !ok {
				return v, fmt.Errorf("no key in %q", line)
			}
			fields[key] = strings.TrimSpace(value)
		}
	}
	if len(fields) == 0 {
		return v, nil
	}
	v.name, v.note, v.text, v.err = fields["name"], fields["note"], fields["text"], fields["error"]
	switch fields["from"] {
	case "client":
		v.from = pdu.ClientToServer
	case "server":
		v.from = pdu.ServerToClient
	default:
		return v, fmt.Errorf("from %q", fields["from"])
	}
	if _, ok := vectorErrors()[v.err]; v.err != "" && !ok {
		return v, fmt.Errorf("error %q", v.err)
	}
	var err error
	v.frame, err = hex.DecodeString(fields["hex"])
	return v, err
}

// TestVectors reads each frame, decodes it, compares it with its text and encodes the text again to the same bytes.
// Rules: [TT-FRAME-1] [TT-FRAME-2] [TT-FRAME-5] [TT-SEQ-1].
func TestVectors(t *testing.T) {
	for file, vectors := range readVectors(t) {
		for i := range vectors {
			v := &vectors[i]
			t.Run(v.name, func(t *testing.T) {
				p, m, err := readVector(v)
				if v.err != "" {
					checkFault(t, v, m, err)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if *update {
					v.text = textOf(m)
				}
				want := m.ProtoReflect().New().Interface()
				if err := prototext.Unmarshal([]byte(v.text), want); err != nil {
					t.Fatal(err)
				}
				if !proto.Equal(m, want) {
					t.Errorf("decoded %v, the text says %v", m, want)
				}
				checkEncode(t, v, p, want)
			})
		}
		if *update {
			writeVectors(t, file, vectors)
		}
	}
}

// Each command that has a message is there, in each direction it is sent.
func TestVectorsAreComplete(t *testing.T) {
	type sent struct {
		command pdu.Command
		from    pdu.Direction
	}
	have := make(map[sent]bool)
	for _, vectors := range readVectors(t) {
		for i := range vectors {
			if p, _, err := readVector(&vectors[i]); err == nil {
				have[sent{p.Header.Command, vectors[i].from}] = true
			}
		}
	}
	for _, row := range pdu.Table() {
		for _, from := range []pdu.Direction{pdu.ClientToServer, pdu.ServerToClient} {
			if !row.Ignored && row.Direction.Has(from) && !have[sent{row.Command, from}] {
				t.Errorf("no frame of %v (0x%04x), %v", row.Command, uint16(row.Command), from)
			}
		}
	}
}

func readVector(v *vector) (pdu.PDU, proto.Message, error) {
	r := pdu.NewReader(bytes.NewReader(v.frame))
	p, err := r.Read(pdu.MaxLen)
	if err != nil {
		return p, nil, err
	}
	if _, err := r.Read(pdu.MaxLen); !errors.Is(err, io.EOF) {
		return p, nil, fmt.Errorf("after the frame: %w", err)
	}
	m, err := pdu.Decode(p, v.from)
	return p, m, err
}

func checkFault(t *testing.T, v *vector, m proto.Message, err error) {
	t.Helper()
	if err == nil {
		t.Fatalf("read as %v, want the error %q", m, v.err)
	}
	want := vectorErrors()[v.err]
	if want != nil && !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
	if want == nil {
		for _, other := range vectorErrors() {
			if other != nil && errors.Is(err, other) {
				t.Fatalf("error %v, want a fault of the body", err)
			}
		}
	}
}

func checkEncode(t *testing.T, v *vector, p pdu.PDU, m proto.Message) {
	t.Helper()
	if got := pdu.AppendRaw(nil, p.Header, p.Body); !bytes.Equal(got, v.frame) {
		t.Errorf("raw %x\nwant %x", got, v.frame)
	}
	h := p.Header
	row, _ := pdu.Lookup(h.Command)
	if h.Version != 1 || h.Flag != 0 || h.Reserved != 0 || h.Service != h.Command.Service() || row.SkipBody && len(p.Body) > 0 {
		return // not as this server would write it
	}
	got, err := pdu.Append([]byte("before"), h.Command, h.Seq, m)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, append([]byte("before"), v.frame...)) {
		t.Errorf("encoded %x\nwant    %x", got[len("before"):], v.frame)
	}
}

// textOf writes a message in one line; prototext varies its spaces on purpose.
func textOf(m proto.Message) string {
	return strings.TrimSpace(regexp.MustCompile(` {2,}`).ReplaceAllString(prototext.MarshalOptions{}.Format(m), " "))
}

func writeVectors(t *testing.T, file string, vectors []vector) {
	t.Helper()
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	comment, _, _ := strings.Cut(string(old), "\n\n")
	b.WriteString(comment + "\n")
	for _, v := range vectors {
		writeVector(&b, v)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func writeVector(b *bytes.Buffer, v vector) {
	fmt.Fprintf(b, "\nname: %s\n", v.name)
	if v.note != "" {
		fmt.Fprintf(b, "note: %s\n", v.note)
	}
	from := "client"
	if v.from == pdu.ServerToClient {
		from = "server"
	}
	head := v.frame[:min(pdu.HeaderLen, len(v.frame))]
	fmt.Fprintf(b, "from: %s\nhex: %x\n", from, head)
	for rest := v.frame[len(head):]; len(rest) > 0; {
		n := min(40, len(rest))
		fmt.Fprintf(b, "  %x\n", rest[:n])
		rest = rest[n:]
	}
	if v.err != "" {
		fmt.Fprintf(b, "error: %s\n", v.err)
		return
	}
	fmt.Fprintln(b, strings.TrimSpace("text: "+v.text))
}

// TestVectorsInOneStream reads all good frames from one connection, whatever the pieces they arrive in [TT-FRAME-4].
func TestVectorsInOneStream(t *testing.T) {
	var stream []byte
	var want [][]byte
	for _, vectors := range readVectors(t) {
		for _, v := range vectors {
			if v.err == "" {
				stream = append(stream, v.frame...)
				want = append(want, v.frame)
			}
		}
	}
	for _, size := range []int{1, 7, 16, 511, 512, 513, 100_000} {
		r := pdu.NewReader(&chunks{data: stream, sizes: []byte{byte(size), byte(size >> 8)}, wide: true})
		for i, frame := range want {
			p, err := r.Read(pdu.MaxLen)
			if err != nil {
				t.Fatalf("pieces of %d: frame %d: %v", size, i, err)
			}
			if got := pdu.AppendRaw(nil, p.Header, p.Body); !bytes.Equal(got, frame) {
				t.Fatalf("pieces of %d: frame %d is %x, want %x", size, i, got, frame)
			}
		}
		if _, err := r.Read(pdu.MaxLen); !errors.Is(err, io.EOF) {
			t.Fatalf("pieces of %d: end with %v", size, err)
		}
	}
}
