package scalemodel

import "time"

// say has a user of a site say something that other clusters have to hear of. The model's moment is the one at which the user's own cluster has
// committed it: that is when it is in the outbox.
func (m *model) say(s *site) {
	m.after(m.exponential(m.away()/float64(m.Bundle)), event{step: stepSay, site: s})
	it := item{said: m.now - m.wait(s), n: int32(m.Bundle)}
	if m.random.Float64() >= m.Traffic.Grouped {
		it.kind = kindMessage
		m.put(s.out[m.other(s)], m.lane(), it)
		return
	}
	it.spread = m.spread()
	if m.random.IntN(int(it.spread)) == 0 { // the author's own cluster is the hub
		m.fanOut(s, nil, it)
		return
	}
	it.kind = kindPost
	m.put(s.out[m.other(s)], m.lane(), it)
}

// fanOut has a hub send a post to all clusters that have members: one copy each. author is that of the author, nil if he is at the hub.
func (m *model) fanOut(hub, author *site, post item) {
	post.kind = kindHubPost
	lane := m.lane()
	left := int(post.spread) - 1
	if author != nil {
		echo := post
		echo.echo = true
		m.put(hub.out[author.number], lane, echo)
		left--
	}
	// The members' clusters stand side by side, from a random one on.
	for n := m.random.IntN(m.Clusters); left > 0; n++ {
		to := m.sites[n%m.Clusters]
		if to != hub && to != author {
			m.put(hub.out[to.number], lane, post)
			left--
		}
	}
}

// change has a site tell one of the others a profile.
func (m *model) change(s *site) {
	m.after(m.exponential(m.Traffic.Changes*float64(m.Clusters-1)), event{step: stepChange, site: s})
	m.put(s.out[m.other(s)], 0, item{said: m.now, n: 1, kind: kindChange})
}

// probes is how many there are a second, at each site.
const probes = 0.5

// probe looks how long a message between two users of one site takes until it is acked.
func (m *model) probe(s *site) {
	m.after(m.exponential(probes), event{step: stepProbe, site: s})
	m.seen.local(m, s, m.wait(s))
}

// wait is how long a command takes that a site's own user proposes now.
func (m *model) wait(s *site) (took time.Duration) {
	took = m.Site.Commit + seconds(float64(s.stalled.len()*(messageLanes+1))/m.spare) // one command of each lane
	return took + max(0, s.commitFree-m.now)
}

// other is the number of any site but this one.
func (m *model) other(s *site) int {
	n := m.random.IntN(m.Clusters - 1)
	if n >= s.number {
		n++
	}
	return n
}

func (m *model) lane() int { return 1 + m.random.IntN(messageLanes) }

func (m *model) spread() uint8 {
	luck := m.random.Float64()
	for _, g := range m.Traffic.Groups {
		if luck -= g.Share; luck < 0 {
			return uint8(g.Clusters)
		}
	}
	return uint8(m.Traffic.Groups[len(m.Traffic.Groups)-1].Clusters)
}
