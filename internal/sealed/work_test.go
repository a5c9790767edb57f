//go:build !race

package sealed

import (
	"bytes"
	"strings"
	"testing"
)

// TestCost keeps trying passphrases expensive: the file says what each try costs.
func TestCost(t *testing.T) {
	var file bytes.Buffer
	if _, err := NewWriter(&file, passphrase); err != nil {
		t.Fatal(err)
	}
	if head, _, _ := strings.Cut(file.String(), "\n---"); !strings.HasSuffix(strings.Split(head, "\n")[1], " 18") {
		t.Errorf("the head is %q", head)
	}
}
