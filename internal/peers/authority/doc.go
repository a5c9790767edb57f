// Package authority decides who belongs to a cluster: its certificate authority, the identity a node proves itself with, and the
// token by which somebody who has neither finds a cluster and is let in.
//
// Every cluster has an authority of its own, made when the cluster is founded. A node's certificate names the cluster and the node in
// a URI, teamtalk://<cluster, hexadecimal>/<node>, which is all that is looked at besides the signature and the time: host names and
// addresses may change.
package authority
