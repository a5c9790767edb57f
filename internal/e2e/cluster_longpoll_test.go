//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"
)

// TestGivenUpPollEndsOnItsNode: a poll that is held by the node of its session for another one ends there as soon as the client closes the connection, and
// not when it would have been answered after 25 s.
func TestGivenUpPollEndsOnItsNode(t *testing.T) {
	c := StartCluster(t, 2, ClusterConfig{Args: quickPasswords()})
	ctx, cancel := limited(t, clusterPatience)
	defer cancel()
	owner, other := c.Nodes[0], c.Nodes[1]
	request := func(ctx context.Context, method, url, token string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		return client.Do(r)
	}
	opened, err := request(ctx, http.MethodPost, "http://"+owner.Addr.HTTP+"/lp", "")
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Body.Close()
	var ticket struct{ ID, Token string }
	if err := json.NewDecoder(opened.Body).Decode(&ticket); err != nil {
		t.Fatal(err)
	}
	answered := func(n *ClusterNode) float64 {
		v, err := n.Metrics(ctx, `teamtalk_longpoll_requests_total{request="poll"`)
		if err != nil {
			return 0
		}
		return v
	}
	inFlight := func() float64 {
		v, err := other.Metrics(ctx, `teamtalk_peers_in_flight{lane="control",peer="`+owner.ID+`"}`)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	polling, giveUp := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { // ends with polling
		defer close(ended)
		if res, err := request(polling, http.MethodGet, "http://"+other.Addr.HTTP+"/lp/"+ticket.ID+"?after=0", ticket.Token); err == nil {
			t.Errorf("the poll was answered: %s", res.Status)
			res.Body.Close()
		}
	}()
	idle := time.Now() // when nothing was asked; nodes ask each other for other things too, but not for long
	Eventually(t, "a poll held elsewhere", func() bool {
		if inFlight() == 0 {
			idle = time.Now()
		}
		return time.Since(idle) > 2*time.Second
	})
	if answered(owner) != 0 {
		t.Fatal("it was not held")
	}
	began := time.Now()
	giveUp()
	<-ended
	Eventually(t, "the end of the poll", func() bool { return answered(owner) == 1 })
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it is held for %s after its client has gone", took)
	} else {
		t.Logf("it ended %s after its client had gone", took.Round(time.Millisecond))
	}
	if v, err := other.Metrics(ctx, `teamtalk_longpoll_forwarded_total{outcome="given_up",request="poll"}`); err != nil || v != 1 {
		t.Errorf("%v counted as given up, %v", v, err)
	}
}
