// Package obs is how a node is observed: logs, metrics, health and the version it was built from.
package obs
