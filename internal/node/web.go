package node

import "teamtalk/web"

// webClient is the page at the root of everything that speaks HTTP. It may talk to the sites whose pages may talk to this node: in a cluster
// whose nodes are reached one by one, each names the others.
func (n *Node) webClient() (*web.Handler, error) {
	return web.New(web.Config{Connect: n.cfg.Public.Origins})
}
