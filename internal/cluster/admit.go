package cluster

import (
	"sync"
	"time"

	"teamtalk/protocol"
)

const (
	// MaxTokenLife is how long a token may be good for; used ones are remembered a little longer, for clocks differ.
	MaxTokenLife = 24 * time.Hour
	tokenMemory  = MaxTokenLife + time.Hour
	// maxTokens bounds the used tokens that are remembered; only who holds genuine tokens can fill it.
	maxTokens = 10_000
)

// admissions remembers used tokens.
type admissions struct {
	mu     sync.Mutex // guards what follows
	tokens map[string]usedToken
}

type usedToken struct {
	by    protocol.NodeID
	until time.Time
}

// take uses a token for a node, if nobody has.
func (a *admissions) take(token string, node protocol.NodeID, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tidy(now)
	if used, ok := a.tokens[token]; ok && used.by != node {
		return tokenUsed(used.by)
	}
	if len(a.tokens) >= maxTokens {
		return protocol.Errorf(protocol.CodeOverloaded, "%d tokens were used within a day: nobody can join for a while", maxTokens)
	}
	if a.tokens == nil {
		a.tokens = map[string]usedToken{}
	}
	a.tokens[token] = usedToken{node, now.Add(tokenMemory)}
	return nil
}

func tokenUsed(by protocol.NodeID) error {
	return protocol.Errorf(protocol.CodeForbidden, "the token was used already, by node %s: make another one with `teamtalkd cluster token`", by)
}

// giveBack makes a token good again whose node was certainly not let in.
func (a *admissions) giveBack(token string, node protocol.NodeID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tokens[token].by == node {
		delete(a.tokens, token)
	}
}

func (a *admissions) tidy(now time.Time) {
	for token, used := range a.tokens {
		if now.After(used.until) {
			delete(a.tokens, token)
		}
	}
}

// taken reports whether an id is in use by somebody who is being let in, or whose token is remembered.
func (a *admissions) taken(id protocol.NodeID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, used := range a.tokens {
		if used.by == id {
			return true
		}
	}
	return false
}
