package msfs

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"teamtalk/blobs/picture"
	"teamtalk/protocol"
)

// stored is the answer to a complete upload [TT-MEDIA-5].
type stored struct {
	Path   string `json:"path"`
	URL    string `json:"url"`
	SHA256 string `json:"sha256"`
	Size   uint64 `json:"size"`
	Type   string `json:"type"`
	Width  uint32 `json:"width,omitempty"`
	Height uint32 `json:"height,omitempty"`
}

// progress is the answer to one that is not [TT-MEDIA-5].
type progress struct {
	Offset uint64 `json:"offset"`
	Size   uint64 `json:"size,omitempty"`
	Error  string `json:"error,omitempty"`
	Code   string `json:"code,omitempty"`
}

// failure is the answer to what can't be done [TT-MEDIA-7].
type failure struct {
	Error string `json:"error"`
	Code  string `json:"code"`
}

func answer(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"internal error","code":"internal"}`)
	}
	b = append(b, '\n')
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b) // a client that is gone needs no answer
}

// fail answers with an error; what is our fault is not told.
func fail(w http.ResponseWriter, err error) {
	status, code := statusOf(err)
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	answer(w, status, failure{Error: errorText(err), Code: code.String()})
}

// errLate is a client that sent too little in the time it had.
var errLate = protocol.Errorf(protocol.CodeUnavailable, "too little arrived for too long: go on from the offset")

// statusOf is how an error is told over HTTP [TT-MEDIA-7].
func statusOf(err error) (int, protocol.Code) {
	code := protocol.CodeOf(err)
	switch {
	case errors.Is(err, ErrNoSpace):
		return http.StatusInsufficientStorage, protocol.CodeQuota
	case errors.Is(err, errLate):
		return http.StatusRequestTimeout, code
	case errors.As(err, new(*picture.TooLargeError)):
		return http.StatusRequestEntityTooLarge, protocol.CodeTooLarge
	}
	switch code {
	case protocol.CodeInvalid:
		return http.StatusBadRequest, code
	case protocol.CodeUnauthenticated, protocol.CodeForbidden:
		return http.StatusForbidden, code
	case protocol.CodeNotFound:
		return http.StatusNotFound, code
	case protocol.CodeTooLarge:
		return http.StatusRequestEntityTooLarge, code
	case protocol.CodeRateLimited, protocol.CodeOverloaded:
		return http.StatusTooManyRequests, code
	case protocol.CodeQuota:
		return http.StatusInsufficientStorage, code
	case protocol.CodeUnavailable, protocol.CodeDraining:
		return http.StatusServiceUnavailable, code
	default:
		return http.StatusInternalServerError, protocol.CodeInternal
	}
}

// errorText is what a client is told about an error.
func errorText(err error) string {
	var big *picture.TooLargeError
	var e *protocol.Error
	switch {
	case errors.As(err, &big):
		return big.Error()
	case errors.Is(err, ErrNoSpace):
		return "no room: nothing is stored until there is disk space again"
	case errors.As(err, &e) && e.Code != protocol.CodeInternal:
		return e.Message
	}
	return "internal error"
}

// legacyStatus answers without a body, as the picture server of old [TT-MSFS-4].
func legacyStatus(w http.ResponseWriter, status int) {
	h := w.Header()
	h.Set("Content-Type", "text/html;charset=utf-8")
	h.Set("Content-Length", "0")
	w.WriteHeader(status)
}
