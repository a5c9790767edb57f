package node

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"teamtalk/protocol"
)

// TestBlobsOfTwoNodes: what one node stores, the other copies by itself and serves; what is dropped is gone from both disks.
func TestBlobsOfTwoNodes(t *testing.T) {
	a := startNode(t, testConfig(t, t.TempDir(), nil))
	defer stopNode(t, a)
	token, err := a.peering.manager.Load().Token(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(t, t.TempDir(), nil)
	cfg.Join = token.Line()
	b := startNode(t, cfg)
	defer stopNode(t, b)

	content := []byte(strings.Repeat("picture", 100_000))
	draft, err := b.blobs.Begin(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer draft.Abort()
	if _, err := draft.Write(content); err != nil {
		t.Fatal(err)
	}
	kept, err := b.blobs.Keep(t.Context(), draft, protocol.Blob{Type: "image/png"})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "both nodes have it", func() bool {
		_, holders, err := a.store.Blob(kept.ID)
		return err == nil && len(holders) == 2
	})
	for _, n := range []*Node{a, b} {
		c, err := n.blobs.Open(t.Context(), kept.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); err != nil || string(got) != string(content) || c.Blob.Type != "image/png" {
			t.Errorf("%d bytes of %d, %v", len(got), len(content), err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := b.store.Execute(t.Context(), &protocol.DropBlobs{IDs: []protocol.BlobID{kept.ID}}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*Node{a, b} {
		hex := kept.ID.String()
		eventually(t, "it is gone", func() bool {
			_, err := os.Stat(filepath.Join(n.cfg.Data, "blobs", hex[:2], hex[2:4], hex))
			return errors.Is(err, os.ErrNotExist)
		})
	}
}

// TestHalfDescribedStore: what is missing is said before anything is touched.
func TestHalfDescribedStore(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keys, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		flags map[string]string
		says  string
	}{
		{map[string]string{"files.s3.endpoint": "127.0.0.1:9000"}, "files.s3.bucket"},
		{map[string]string{"files.s3.endpoint": "127.0.0.1:9000", "files.s3.bucket": "b"}, "files.s3.access_key_file"},
		{map[string]string{"files.s3.endpoint": "127.0.0.1:9000", "files.s3.bucket": "b", "files.s3.access_key_file": keys}, "files.s3.secret_key_file"},
	} {
		if err := testConfig(t, t.TempDir(), c.flags).checkFiles(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v", c.flags, err)
		}
	}
	whole := testConfig(t, t.TempDir(), map[string]string{"files.s3.endpoint": "127.0.0.1:9000", "files.s3.bucket": "b", "files.s3.access_key_file": keys,
		"files.s3.secret_key_file": keys})
	if err := whole.checkFiles(); err != nil {
		t.Error(err)
	}
	if got, err := secretFile(keys); got != "secret" || err != nil {
		t.Errorf("the key is %q, %v", got, err)
	}
}

// TestWithoutStore: a node whose store is down serves all the same.
func TestWithoutStore(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keys, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := startNode(t, testConfig(t, t.TempDir(), map[string]string{"files.s3.endpoint": "127.0.0.1:1", "files.s3.bucket": "b", "files.s3.tls": "false", "files.s3.region": "here",
		"files.s3.access_key_file": keys, "files.s3.secret_key_file": keys}))
	stopNode(t, n)
}

func TestAges(t *testing.T) {
	c := Default()
	for text, want := range map[string]string{"off": "off", "7d": "7d", "168h": "7d", "90m": "1h30m", "36500d": "36500d"} {
		if err := c.Set("files.unused", text, "test"); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if got := c.Show("files.unused"); got != want {
			t.Errorf("%s is shown as %s", text, got)
		}
	}
	for _, text := range []string{"", "0", "0d", "-1d", "d", "1.5d", "36501d", "99999999999999d", "7 d", "week"} {
		if err := c.Set("files.unused", text, "test"); err == nil {
			t.Errorf("%q is taken as %s", text, c.Show("files.unused"))
		}
	}
	if !slices.Contains(optionKeys(), "files.s3.prefix") {
		t.Error("options are missing")
	}
}
